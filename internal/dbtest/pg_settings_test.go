package dbtest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/storetest"
)

// pgSettings are settings of a role or database that change the meaning of a text
// or a statement. docs/stores.md has the same table.
var pgSettings = []struct{ name, value string }{
	{"array_nulls", "off"}, {"backslash_quote", "off"}, {"bytea_output", "escape"}, {"check_function_bodies", "off"},
	{"DateStyle", "'SQL, DMY'"}, {"IntervalStyle", "sql_standard"}, {"TimeZone", "'Asia/Kathmandu'"},
	{"default_transaction_deferrable", "on"}, {"default_transaction_isolation", "serializable"},
	{"enable_indexscan", "off"}, {"enable_tidscan", "off"}, {"escape_string_warning", "on"},
	{"extra_float_digits", "-15"}, {"idle_in_transaction_session_timeout", "'1min'"}, {"jit", "on"},
	{"lc_messages", "'C'"}, {"lc_numeric", "'C'"}, {"lo_compat_privileges", "on"}, {"lock_timeout", "'1min'"}, {"plan_cache_mode", "force_generic_plan"},
	{"quote_all_identifiers", "on"}, {"row_security", "off"}, {"search_path", "''"}, {"session_replication_role", "replica"},
	{"statement_timeout", "'1min'"}, {"synchronize_seqscans", "off"}, {"transform_null_equals", "on"}, {"work_mem", "'64kB'"}, {"xmloption", "document"},
}

// standardStrings is refused by pgx itself in its simple protocol.
var standardStrings = struct{ name, value string }{"standard_conforming_strings", "off"}

// pgRole makes a role with settings and returns the options of a DSN for it.
func pgRole(t *testing.T, name string, settings ...struct{ name, value string }) string {
	t.Helper()
	db := pgOpen(t, "pgx", "")
	role := "role_" + strings.ToLower(name)
	if _, err := db.Exec(`CREATE ROLE ` + role + ` SUPERUSER LOGIN`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP OWNED BY ` + role + ` CASCADE; DROP ROLE ` + role); err != nil {
			t.Error(err)
		}
	})
	for _, s := range settings {
		if _, err := db.Exec(`ALTER ROLE ` + role + ` SET ` + s.name + ` = ` + s.value); err != nil {
			t.Fatal(err)
		}
	}
	return "user=" + role
}

var pgWays = map[string]struct{ driver, options string }{
	"pgx": {"pgx", ""}, "pgx simple protocol": {"pgx", "default_query_exec_mode=simple_protocol"},
	"lib-pq": {"postgres", ""}, "lib-pq binary": {"postgres", "binary_parameters=yes"},
}

// The settings of a role do not change the data that the Store keeps: one setting
// at a time, and the whole contract with all of them at once.
func TestSettingsOfARoleChangeNoData(t *testing.T) {
	for _, set := range append(pgSettings, standardStrings) {
		t.Run(set.name, func(t *testing.T) {
			t.Parallel()
			role := pgRole(t, "one_"+set.name, set)
			for name, way := range pgWays {
				if set == standardStrings && name == "pgx simple protocol" {
					continue
				}
				db := pgOpen(t, way.driver, role+" "+way.options)
				db.SetMaxOpenConns(4)
				var source string
				if err := db.QueryRow(`SELECT source FROM pg_settings WHERE lower(name) = lower('` + set.name + `')`).Scan(&source); err != nil || source != "user" && set.name != "DateStyle" { // lib/pq sets that
					t.Errorf("%s: the setting is that of %q and not the role's, %v", name, source, err)
				}
				s := pgStore(t, db, pgstore.Config{})
				rounds(t, s)
				req := pgEvent("in a transaction")
				req.Event.ID = "tx"
				inTx(t, db, true, func(tx *sql.Tx) error {
					_, err := s.PublishTx(t.Context(), tx, req)
					return err
				})
				if got := claimed(t, s); len(got) != 2 {
					t.Errorf("%s: published in a transaction: claimed %v", name, got)
				}
			}
		})
	}
	for _, name := range []string{"pgx simple protocol", "lib-pq"} { // parameters and results travel as text
		way := pgWays[name]
		t.Run("all with "+name, func(t *testing.T) {
			t.Parallel()
			all := pgSettings
			if name != "pgx simple protocol" {
				all = append(all[:len(all):len(all)], standardStrings)
			}
			options := pgRole(t, strings.NewReplacer(" ", "_", "-", "_").Replace("all_"+name), all...) + " " + way.options
			db := pgOpen(t, way.driver, options)
			schema := pgSchema(t, db)
			pgStore(t, db, pgstore.Config{Schema: schema})
			storetest.Run(t, func(t *testing.T) webhook.Store {
				pgEmpty(t, db, schema)
				return pgStore(t, db, pgstore.Config{Schema: schema, PassedClock: true})
			})
		})
	}
}

// rounds makes the calls of a dispatcher, with texts and numbers that show any loss
// on the way.
func rounds(t *testing.T, s webhook.Store) {
	t.Helper()
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
	w := webhook.WebhookRecord{
		Webhook: webhook.Webhook{
			ID: "wh_1", Tenant: tenant, Name: `NULL`, URL: `https://example.com/\'"{,}`, Description: "ß\u2028日本 \\n 'x' \"", Events: []string{"a.b", "NULL.*"},
			Headers: map[string]string{"X-A": `{"NULL",NULL}`}, Active: true, VerifyTLS: true, Timeout: 30 * time.Second, RateLimit: 123.456789,
			Version: 1, CreatedAt: now, UpdatedAt: now,
		},
		Secrets: []webhook.SecretRecord{{Value: `s\ecret`, CreatedAt: now}},
	}
	other := w
	other.ID, other.RateLimit = "wh_2", 0.1+0.2
	for _, w := range []webhook.WebhookRecord{w, other} {
		if err := s.CreateWebhook(ctx, w, 0); err != nil {
			t.Fatal(err)
		}
		got, err := s.GetWebhook(ctx, tenant, w.ID)
		if diff := cmp.Diff(w, got); err != nil || diff != "" {
			t.Errorf("a webhook came back with %v as\n%s", err, diff)
		}
	}
	all, traced, only := pgEvent("NULL"), pgEvent("e2"), pgEvent("e3")
	all.Event.Data, traced.Event.Trace, only.WebhookID = []byte(`{"a":"\\x41\u0000é"}`), "00-trace", "wh_2"
	for i, reqs := range [][]webhook.PublishRequest{{all}, {traced, only}, {all, traced, only}} {
		res, err := s.Publish(ctx, now, reqs)
		if err != nil {
			t.Fatal(err)
		}
		for j, r := range res {
			want := webhook.PublishResult{Deliveries: 2}
			switch {
			case i == 2:
				want = webhook.PublishResult{Duplicate: true}
			case reqs[j].WebhookID != "":
				want.Deliveries = 1
			}
			if r != want {
				t.Errorf("publishing %s: %+v, want %+v", reqs[j].Event.ID, r, want)
			}
		}
	}
	for _, req := range []webhook.PublishRequest{all, traced, only} {
		got, err := s.GetEvent(ctx, tenant, req.Event.ID)
		if diff := cmp.Diff(req.Event, got); err != nil || diff != "" {
			t.Errorf("an event came back with %v as\n%s", err, diff)
		}
	}
	ds, token := pgClaim(t, s, now, 10)
	if len(ds) != 5 {
		t.Fatalf("claimed %d deliveries, want 5", len(ds))
	}
	want := webhook.Attempt{DeliveryID: ds[0].Delivery.ID, Number: 1, StartedAt: now, Duration: time.Second, Status: 500, Class: webhook.ClassStatus,
		Error: `NULL, {"a"} \ ' 日本`, ResponseHeaders: map[string]string{"X-B": `NULL, \x`}, ResponseBody: []byte("\x00\\x41\xff'")}
	var results []webhook.Result
	for i, d := range ds {
		r := webhook.Result{DeliveryID: d.Delivery.ID, Token: token, State: webhook.StateSucceeded, Attempt: &webhook.Attempt{Number: 1, StartedAt: now, Status: 200}}
		switch i {
		case 0:
			r.State, r.Attempt = webhook.StatePending, &want
		case 1:
			r.State, r.Reason, r.Attempt = webhook.StateCanceled, webhook.ReasonWebhookDisabled, nil
		}
		results = append(results, r)
	}
	out, err := s.Complete(ctx, now, results)
	for i, o := range out {
		if o != webhook.OutcomeApplied {
			t.Errorf("result %d: outcome %v", i, o)
		}
	}
	if err != nil || len(out) != len(results) {
		t.Fatalf("%d outcomes of %d results, %v", len(out), len(results), err)
	}
	attempts, err := s.ListAttempts(ctx, tenant, ds[0].Delivery.ID)
	if diff := cmp.Diff([]webhook.Attempt{want}, attempts); err != nil || diff != "" {
		t.Errorf("an attempt came back with %v as\n%s", err, diff)
	}
	d, err := s.GetDelivery(ctx, tenant, ds[1].Delivery.ID)
	if err != nil || d.State != webhook.StateCanceled || d.Reason != webhook.ReasonWebhookDisabled {
		t.Errorf("the canceled delivery is %s %s, %v", d.State, d.Reason, err)
	}
	again, token := pgClaim(t, s, now.Add(time.Second), 10)
	if len(again) != 1 || again[0].Delivery.ID != ds[0].Delivery.ID || !bytes.Equal(again[0].Event.Data, ds[0].Event.Data) {
		t.Errorf("claimed %d deliveries again, want the retry", len(again))
	}
	if err := s.Release(ctx, now, []webhook.Lease{{Token: token}}, time.Hour); err != nil {
		t.Error(err)
	}
	page, err := s.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, Limit: 10})
	if err != nil || len(page.Items) != 5 {
		t.Errorf("%d deliveries are listed, want 5, %v", len(page.Items), err)
	}
}

// The page about stores lists each setting as harmless.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range append(pgSettings, standardStrings) {
		if !strings.Contains(string(page), "`"+set.name+"`") {
			t.Errorf("docs/stores.md does not name the setting %s", set.name)
		}
	}
}

// A database, or a connection, with an encoding other than UTF8 is refused by
// Migrate and by the first call, before any write.
func TestOtherEncodingsAreRefused(t *testing.T) {
	admin := pgOpen(t, "pgx", "")
	for _, encoding := range []string{"LATIN1", "EUC_JP", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			name := "db_" + strings.ToLower(encoding)
			if _, err := admin.Exec(`CREATE DATABASE ` + name + ` ENCODING '` + encoding + `' TEMPLATE template0 LOCALE 'C'`); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if _, err := admin.Exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
					t.Error(err)
				}
			})
			for _, driver := range pgDrivers {
				refusedEncoding(t, pgOpen(t, driver, "dbname="+name), "ENCODING 'UTF8' TEMPLATE template0")
			}
		})
		t.Run("client "+encoding, func(t *testing.T) {
			role := pgRole(t, "client_"+encoding, struct{ name, value string }{"client_encoding", "'" + encoding + "'"})
			refusedEncoding(t, pgOpen(t, "pgx", role), "client_encoding=UTF8")
		})
	}
}

func refusedEncoding(t *testing.T, db *sql.DB, advice string) {
	t.Helper()
	s, err := pgstore.New(db, pgstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, first := s.Claim(t.Context(), webhook.ClaimRequest{Token: 1, Now: time.Now(), Lease: time.Minute, Limit: 1, PerWebhook: 1})
	for what, err := range map[string]error{"Migrate": s.Migrate(t.Context()), "the first call": first} {
		if !errors.Is(err, pgstore.ErrEncoding) || !strings.Contains(fmt.Sprint(err), advice) {
			t.Errorf("%s: got error %v, want ErrEncoding that says %q", what, err, advice)
		}
	}
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM pg_class WHERE relname LIKE 'webhook%' AND relnamespace = 'public'::regnamespace`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d tables and indexes were made, %v", n, err)
	}
	// The same if another tool created the tables.
	s, err = pgstore.New(db, pgstore.Config{Schema: oldTables(t, db, pgVersion(t))})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := s.PublishTx(t.Context(), tx, pgEvent("e1")); !errors.Is(err, pgstore.ErrEncoding) || !strings.Contains(fmt.Sprint(err), advice) {
		t.Errorf("the first call in a transaction: got error %v, want ErrEncoding that says %q", err, advice)
	}
}
