package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/whsec"
	"github.com/seed68722ecd/webhook/memstore"
)

func TestSecretCanBeImported(t *testing.T) {
	d, store := newIdle(t, webhook.Config{})
	ctx := t.Context()
	for _, s := range []string{
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", strings.Repeat("k", 24), strings.Repeat("k", 512), "!#$%&'()*+,-./:;<=>?@[]^_`{|}~",
	} {
		spec := goodSpec()
		spec.Secret = s
		w, secret, err := d.CreateWebhook(ctx, tenant, spec)
		if err != nil || secret.Reveal() != s {
			t.Errorf("importing %q: %q, %v", s, secret.Reveal(), err)
		}
		rec, err := store.GetWebhook(ctx, tenant, w.ID)
		if err != nil || len(rec.Secrets) != 1 || rec.Secrets[0].Value != s || !rec.Secrets[0].ExpiresAt.IsZero() {
			t.Errorf("stored %d secrets, %v", len(rec.Secrets), err)
		}
	}
	w, _, err := d.CreateWebhook(ctx, tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	for s, reason := range map[string]string{
		strings.Repeat("m", 23): "23 bytes", strings.Repeat("m", 513): "513 bytes", "whsec_bWFya2Vy": "want 24",
		strings.Repeat("m", 30) + " ": "byte 30", strings.Repeat("m", 30) + "ü": "byte 30",
	} {
		spec := goodSpec()
		spec.Secret = s
		_, none, createErr := d.CreateWebhook(ctx, tenant, spec)
		_, none2, rotateErr := d.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{Secret: s})
		for _, err := range []error{createErr, rotateErr} {
			if got := refusals(t, err); len(got) != 1 || !strings.Contains(got["secret"], reason) {
				t.Errorf("refused %v, want secret: %s", got, reason)
			}
			if strings.Contains(err.Error(), strings.TrimSpace(s)) {
				t.Errorf("error %q shows the secret", err)
			}
		}
		if none.Reveal() != "" || none2.Reveal() != "" {
			t.Error("a refused secret is returned")
		}
	}
	rec, err := store.GetWebhook(ctx, tenant, w.ID)
	if err != nil || rec.Version != 1 || len(rec.Secrets) != 1 {
		t.Errorf("refused rotations changed the webhook: version %d, %d secrets, %v", rec.Version, len(rec.Secrets), err)
	}
}

func TestRotationKeepsAtMostFiveSecrets(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d, store := newIdle(t, webhook.Config{Now: func() time.Time { return now }})
	ctx := t.Context()
	w, first, err := d.CreateWebhook(ctx, tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	all := []string{first.Reveal()}
	stored := func() []webhook.SecretRecord {
		rec, err := store.GetWebhook(ctx, tenant, w.ID)
		if err != nil {
			t.Fatal(err)
		}
		return rec.Secrets
	}
	rotate := func(r webhook.Rotation) {
		t.Helper()
		after, s, err := d.RotateSecret(ctx, tenant, w.ID, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := whsec.Check(s.Reveal()); err != nil || slices.Contains(all, s.Reveal()) && r.Secret == "" {
			t.Errorf("rotation returned an unusable or an old secret: %v", err)
		}
		if stored()[0].Value != s.Reveal() || !stored()[0].ExpiresAt.IsZero() || after.UpdatedAt != now {
			t.Error("the new secret is not the current one")
		}
		all = append(all, s.Reveal())
	}
	for range 7 {
		now = now.Add(time.Hour)
		rotate(webhook.Rotation{})
	}
	var values []string
	for i, s := range stored() {
		values = append(values, s.Value)
		if i > 0 && s.ExpiresAt != now.Add(24*time.Hour-time.Duration(i-1)*time.Hour) {
			t.Errorf("secret %d expires at %v", i, s.ExpiresAt)
		}
	}
	want := slices.Clone(all[len(all)-5:])
	slices.Reverse(want)
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error("the five latest secrets are not the ones that sign")
	}
	// A shorter overlap cuts the others short, a longer one does not prolong them.
	rotate(webhook.Rotation{Overlap: new(time.Hour)})
	for _, s := range stored()[1:] {
		if s.ExpiresAt != now.Add(time.Hour) {
			t.Errorf("expires at %v, want in an hour", s.ExpiresAt)
		}
	}
	rotate(webhook.Rotation{Overlap: new(48 * time.Hour)})
	if s := stored(); s[1].ExpiresAt != now.Add(48*time.Hour) || s[2].ExpiresAt != now.Add(time.Hour) {
		t.Errorf("expire at %v and %v", s[1].ExpiresAt, s[2].ExpiresAt)
	}
	// The current secret again, or an old one, is there once.
	rotate(webhook.Rotation{Secret: all[len(all)-1]})
	rotate(webhook.Rotation{Secret: all[len(all)-3]})
	seen := map[string]bool{}
	for _, s := range stored() {
		if seen[s.Value] {
			t.Error("a secret signs twice")
		}
		seen[s.Value] = true
	}
	// Expired secrets go, and an overlap of 0 ends all earlier secrets.
	now = now.Add(47 * time.Hour)
	rotate(webhook.Rotation{})
	for _, s := range stored()[1:] {
		if !s.ExpiresAt.After(now) {
			t.Error("an expired secret is kept")
		}
	}
	rotate(webhook.Rotation{Overlap: new(time.Duration(0))})
	if n := len(stored()); n != 1 {
		t.Errorf("%d secrets after a rotation without overlap", n)
	}
	_, _, err = d.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{Overlap: new(-time.Second)})
	if got := refusals(t, err); !strings.Contains(got["overlap"], "-1s") {
		t.Errorf("refused %v", got)
	}
	none, err := webhook.New(store, webhook.Config{SecretOverlap: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := none.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{}); err != nil || len(stored()) != 1 {
		t.Errorf("%d secrets where the host wants no overlap, %v", len(stored()), err)
	}
}

func TestP11_TwoEditorsDoNotOverwriteEachOther(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	ctx := t.Context()
	w, _, err := d.CreateWebhook(ctx, tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		updates := []webhook.WebhookUpdate{{Name: new(fmt.Sprint("name", round))}, {Description: new(fmt.Sprint("text", round))}}
		results := make([]error, len(updates))
		var wg sync.WaitGroup
		for i := range updates {
			wg.Go(func() { _, results[i] = d.UpdateWebhook(ctx, tenant, w.ID, w.Version, updates[i]) })
		}
		wg.Wait()
		winner := slices.Index(results, nil)
		if winner < 0 || !errors.Is(results[1-winner], webhook.ErrConflict) {
			t.Fatalf("round %d: %v, want one success and one conflict", round, results)
		}
		now, err := d.Webhook(ctx, tenant, w.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := w
		want.Version++
		if winner == 0 {
			want.Name = *updates[0].Name
		} else {
			want.Description = *updates[1].Description
		}
		if diff := cmp.Diff(want, now, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(webhook.Webhook{}, "UpdatedAt")); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
		w = now
	}
	for _, version := range []int64{0, w.Version - 1, w.Version + 1, -1} {
		_, err := d.UpdateWebhook(ctx, tenant, w.ID, version, webhook.WebhookUpdate{Name: new("x")})
		wantErr(t, err, webhook.ErrConflict)
	}
}

// Enabling, disabling and rotating hold whatever else was edited meanwhile:
// they never fail for a conflict, and lose no edit.
func TestP11_SwitchesAndEditsDoNotLoseEachOther(t *testing.T) {
	d, store := newIdle(t, webhook.Config{})
	ctx := t.Context()
	w, _, err := d.CreateWebhook(ctx, tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 25 {
				var err error
				switch i {
				case 0:
					_, err = d.EnableWebhook(ctx, tenant, w.ID)
				case 1:
					_, err = d.DisableWebhook(ctx, tenant, w.ID, "by the test")
				case 2:
					_, _, err = d.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{})
				case 3:
					for {
						now, _ := d.Webhook(ctx, tenant, w.ID)
						_, err = d.UpdateWebhook(ctx, tenant, w.ID, now.Version, webhook.WebhookUpdate{Description: new(now.Description + "x")})
						if !errors.Is(err, webhook.ErrConflict) {
							break
						}
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rec, err := store.GetWebhook(ctx, tenant, w.ID)
	if err != nil || rec.Description != strings.Repeat("x", 25) || len(rec.Secrets) != 5 {
		t.Errorf("%q edits, %d secrets, %v; want 25 and 5", rec.Description, len(rec.Secrets), err)
	}
	if rec.Active != (rec.DisabledReason == "") || rec.Active != rec.DisabledAt.IsZero() {
		t.Errorf("half switched: %+v", rec.Webhook)
	}
}

func TestEnableAndDisable(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d, _ := newIdle(t, webhook.Config{Now: func() time.Time { return now }})
	ctx := t.Context()
	w, _, err := d.CreateWebhook(ctx, tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	same, err := d.EnableWebhook(ctx, tenant, w.ID)
	if diff := cmp.Diff(w, same, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("enabling an active one: %v\n%s", err, diff)
	}
	for _, bad := range []string{strings.Repeat("r", 1025), "a\x00", "a\xff"} {
		_, err := d.DisableWebhook(ctx, tenant, w.ID, bad)
		if got := refusals(t, err); got["disabledReason"] == "" {
			t.Errorf("refused %v", got)
		}
	}
	now = now.Add(time.Hour)
	off, err := d.DisableWebhook(ctx, tenant, w.ID, "")
	if err != nil || off.Active || off.DisabledReason != "disabled by hand" || off.DisabledAt != now || off.Version != 2 {
		t.Errorf("disabled: %+v, %v", off, err)
	}
	again, err := d.DisableWebhook(ctx, tenant, w.ID, "another reason")
	if diff := cmp.Diff(off, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("disabling twice: %v\n%s", err, diff)
	}
	on, err := d.EnableWebhook(ctx, tenant, w.ID)
	if err != nil || !on.Active || on.DisabledReason != "" || !on.DisabledAt.IsZero() || on.Version != 3 {
		t.Errorf("enabled: %+v, %v", on, err)
	}
	if off, err = d.DisableWebhook(ctx, tenant, w.ID, strings.Repeat("r", 1024)); err != nil || len(off.DisabledReason) != 1024 {
		t.Errorf("with the longest reason: %v", err)
	}
}

func TestWebhooksListsPagesPerTenant(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	ctx := t.Context()
	want := map[string][]string{}
	for i := range 60 {
		owner := []string{"a", "b"}[i%2]
		spec := goodSpec()
		spec.Name = fmt.Sprintf("Hook %d", i)
		w, _, err := d.CreateWebhook(ctx, owner, spec)
		if err != nil {
			t.Fatal(err)
		}
		want[owner] = append([]string{w.ID}, want[owner]...)
	}
	for owner, ids := range want {
		for _, limit := range []int{1, 7, 30, 0, 500, 1 << 30} {
			var got []string
			q := webhook.WebhookQuery{Tenant: owner, Limit: limit}
			for pages := 0; ; pages++ {
				p, err := d.Webhooks(ctx, q)
				if err != nil || pages > 31 {
					t.Fatalf("page %d: %v", pages, err)
				}
				for _, w := range p.Items {
					got = append(got, w.ID)
				}
				if q.Cursor = p.Next; q.Cursor == "" {
					break
				}
			}
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Errorf("tenant %s by %d (-want +got):\n%s", owner, limit, diff)
			}
		}
	}
	p, err := d.Webhooks(ctx, webhook.WebhookQuery{Tenant: "a", Search: "hook 5"})
	if err != nil || len(p.Items) != 5 { // 50, 52, … 58
		t.Errorf("found %d, %v; want 5", len(p.Items), err)
	}
	if p, err := d.Webhooks(ctx, webhook.WebhookQuery{Tenant: "nobody"}); err != nil || len(p.Items) != 0 || p.Next != "" {
		t.Errorf("a tenant without webhooks: %+v, %v", p, err)
	}
	_, err = d.Webhooks(ctx, webhook.WebhookQuery{Tenant: "a", Cursor: "forged"})
	wantErr(t, err, webhook.ErrCursor)
	_, err = d.Webhooks(ctx, webhook.WebhookQuery{Limit: -1, Search: "\x00"})
	if got := refusals(t, err); len(got) != 3 || !strings.Contains(got["limit"], "1–500, got -1") {
		t.Errorf("refused %v", got)
	}
}

func TestTooManyWebhooks(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{MaxWebhooks: 2})
	ctx := t.Context()
	var last webhook.Webhook
	for range 2 {
		var err error
		if last, _, err = d.CreateWebhook(ctx, tenant, goodSpec()); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := d.CreateWebhook(ctx, tenant, goodSpec())
	wantErr(t, err, webhook.ErrTooManyWebhooks)
	if _, _, err := d.CreateWebhook(ctx, "other", goodSpec()); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if err := d.DeleteWebhook(ctx, tenant, last.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.CreateWebhook(ctx, tenant, goodSpec()); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}

// An object of another tenant is answered exactly as a missing object, and so is
// an impossible ID. A new method fails this test until it has a row.
func TestOtherTenantsAnswerLikeMissing(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		wh := w.hook("h.example.com")
		eventID := w.publish()
		if n, err := w.DeliverDue(ctx); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		del := w.only(wh.ID)
		rows := map[string]func(tenant, id string) (any, error){
			"Webhook":        func(tn, id string) (any, error) { return w.Webhook(ctx, tn, id) },
			"UpdateWebhook":  func(tn, id string) (any, error) { return w.UpdateWebhook(ctx, tn, id, 1, webhook.WebhookUpdate{}) },
			"EnableWebhook":  func(tn, id string) (any, error) { return w.EnableWebhook(ctx, tn, id) },
			"DisableWebhook": func(tn, id string) (any, error) { return w.DisableWebhook(ctx, tn, id, "") },
			"DeleteWebhook":  func(tn, id string) (any, error) { return nil, w.DeleteWebhook(ctx, tn, id) },
			"RotateSecret": func(tn, id string) (any, error) {
				rec, s, err := w.RotateSecret(ctx, tn, id, webhook.Rotation{})
				return []any{rec, s.Reveal()}, err
			},
			"SendTest": func(tn, id string) (any, error) { return w.SendTest(ctx, tn, id, webhook.TestEvent{}) },
			"Replay": func(tn, id string) (any, error) {
				return w.Replay(ctx, webhook.ReplayRequest{Tenant: tn, WebhookID: id})
			},
			"Event":       func(tn, id string) (any, error) { return w.Event(ctx, tn, id) },
			"Delivery":    func(tn, id string) (any, error) { return w.Delivery(ctx, tn, id) },
			"Attempts":    func(tn, id string) (any, error) { return w.Attempts(ctx, tn, id) },
			"SentRequest": func(tn, id string) (any, error) { return w.SentRequest(ctx, tn, id, 1) },
			"Resend":      func(tn, id string) (any, error) { return w.Resend(ctx, tn, id) },
			"Deliveries": func(tn, id string) (any, error) {
				return w.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tn, WebhookID: id})
			},
			"HourlyStats": func(tn, id string) (any, error) {
				return w.HourlyStats(ctx, webhook.StatsQuery{Tenant: tn, WebhookIDs: []string{id}})
			},
			"DeleteEvent": func(tn, id string) (any, error) { return w.DeleteEvent(ctx, tn, id) },
			"Webhooks":    func(tn, _ string) (any, error) { return w.Webhooks(ctx, webhook.WebhookQuery{Tenant: tn}) },
		}
		for _, none := range []string{"CreateWebhook", "Publish", "PublishAll", "Prepare", "Prune", "Run", "DeliverDue", "Stats", "Wake", "Policy", "Backlog", "ReencryptSecrets", "DeleteTenant"} {
			rows[none] = nil // takes no ID
		}
		for m := range reflect.TypeFor[*webhook.Dispatcher]().Methods() {
			if _, ok := rows[m.Name]; !ok {
				t.Errorf("method %s has no row", m.Name)
			}
		}
		ids := map[string]string{"Event": eventID, "Delivery": del.ID, "Attempts": del.ID, "SentRequest": del.ID, "Resend": del.ID, "DeleteEvent": eventID}
		const marker = "MISSING-ID-0000000000"
		for method, call := range rows {
			if call == nil {
				continue
			}
			id, ok := ids[method]
			if !ok {
				id = wh.ID
			}
			missing, missingErr := call("other", marker)
			theirs, theirErr := call("other", id)
			text := func(err error, id string) string { return strings.ReplaceAll(fmt.Sprint(err), id, "ID") }
			if text(missingErr, marker) != text(theirErr, id) || !cmp.Equal(missing, theirs, cmpopts.EquateEmpty()) {
				t.Errorf("%s: missing gives %+v, %v; another tenant's gives %+v, %v", method, missing, missingErr, theirs, theirErr)
			}
			isList := slices.Contains([]string{"Deliveries", "HourlyStats", "Webhooks"}, method)
			if !isList && !errors.Is(theirErr, webhook.ErrNotFound) || isList && theirErr != nil {
				t.Errorf("%s of another tenant's: %v", method, theirErr)
			}
			if strings.Contains(fmt.Sprintf("%+v", theirs), tenant) {
				t.Errorf("%s shows the other tenant: %+v", method, theirs)
			}
			for _, bad := range [][2]string{{"other", ""}, {"other", "a\x00b"}, {"other", strings.Repeat("x", 65)}, {"", id}, {"t\x00", id}, {"\xff", id}} {
				_, err := call(bad[0], bad[1])
				switch {
				case method == "Webhooks" && bad[0] == "other", method == "Deliveries" && bad[1] == "":
				case isList || method == "Replay" && bad[0] != "other":
					wantErr(t, err, webhook.ErrInvalid)
				default:
					wantErr(t, err, webhook.ErrNotFound)
				}
			}
		}
		if now, err := w.Webhook(ctx, tenant, wh.ID); err != nil || now.Version != 1 {
			t.Errorf("the webhook was touched: %+v, %v", now, err)
		}
	})
}

func TestWebhookLogsWithoutCredentials(t *testing.T) {
	w := webhook.Webhook{ID: "wh_1", Name: "n", URL: "https://h.example.com:8443/marker?marker=1", Headers: map[string]string{"X": "marker"}, Active: true}
	got := w.LogValue().String()
	if strings.Contains(got, "marker") || !strings.Contains(got, "h.example.com:8443") || !strings.Contains(got, "wh_1") {
		t.Errorf("logged as %s", got)
	}
	if got := (webhook.Webhook{URL: "https://%zz/marker"}).LogValue().String(); strings.Contains(got, "marker") {
		t.Errorf("a broken URL is logged as %s", got)
	}
	if got := (webhook.WebhookSpec{Name: "n", URL: w.URL, Headers: w.Headers}).LogValue().String(); strings.Contains(got, "marker") {
		t.Errorf("a spec is logged as %s", got)
	}
}

// Settings and the state change in one write, at one version; a rotation may be
// bound to a version too.
func TestUpdateWebhook_ActiveIsPartOfTheWrite(t *testing.T) {
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	w, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{Name: "a", URL: "https://a.example.com/", Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	off, err := d.UpdateWebhook(ctx, tenant, w.ID, w.Version, webhook.WebhookUpdate{Name: new("b"), Active: new(false), DisabledReason: "moving"})
	if err != nil || off.Active || off.DisabledReason != "moving" || off.DisabledAt.IsZero() || off.Name != "b" || off.Version != w.Version+1 {
		t.Fatalf("%+v, %v", off, err)
	}
	again, err := d.UpdateWebhook(ctx, tenant, w.ID, off.Version, webhook.WebhookUpdate{Active: new(false), DisabledReason: "other"})
	if err != nil || again.DisabledReason != "moving" || !again.DisabledAt.Equal(off.DisabledAt) {
		t.Errorf("disabled again: %+v, %v", again, err)
	}
	if _, err := d.UpdateWebhook(ctx, tenant, w.ID, off.Version, webhook.WebhookUpdate{Active: new(true)}); !errors.Is(err, webhook.ErrConflict) {
		t.Errorf("at an old version: %v", err)
	}
	if _, err := d.UpdateWebhook(ctx, tenant, w.ID, again.Version, webhook.WebhookUpdate{Active: new(false), DisabledReason: strings.Repeat("x", 1025)}); !errors.Is(err, webhook.ErrInvalid) {
		t.Errorf("a long reason: %v", err)
	}
	on, err := d.UpdateWebhook(ctx, tenant, w.ID, again.Version, webhook.WebhookUpdate{Active: new(true)})
	if err != nil || !on.Active || on.DisabledReason != "" || !on.DisabledAt.IsZero() {
		t.Errorf("enabled: %+v, %v", on, err)
	}
	off, err = d.UpdateWebhook(ctx, tenant, w.ID, on.Version, webhook.WebhookUpdate{Active: new(false)})
	if err != nil || off.DisabledReason != "disabled by hand" {
		t.Errorf("without a reason: %+v, %v", off, err)
	}
	if _, _, err := d.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{Version: on.Version}); !errors.Is(err, webhook.ErrConflict) {
		t.Errorf("rotated at an old version: %v", err)
	}
	if _, _, err := d.RotateSecret(ctx, tenant, w.ID, webhook.Rotation{Version: off.Version}); err != nil {
		t.Error(err)
	}
}
