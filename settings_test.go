package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

// newIdle returns a dispatcher over an empty memory store that does not run.
func newIdle(t *testing.T, cfg webhook.Config) (*webhook.Dispatcher, *memstore.Store) {
	t.Helper()
	store := memstore.New(memstore.Config{})
	d, err := webhook.New(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, store
}

// goodSpec is a valid spec; most tests here change one field.
func goodSpec() webhook.WebhookSpec {
	return webhook.WebhookSpec{Name: "CRM", URL: "https://crm.example.com/in", Events: []string{"agent.*"}}
}

// refusals returns the refused fields of an error and their reasons.
func refusals(t *testing.T, err error) map[string]string {
	t.Helper()
	wantErr(t, err, webhook.ErrInvalid)
	bad, ok := errors.AsType[*webhook.ValidationError](err)
	if !ok {
		t.Fatalf("error %v holds no *ValidationError", err)
	}
	out := make(map[string]string, len(bad.Fields))
	for _, f := range bad.Fields {
		if _, twice := out[f.Field]; twice {
			t.Errorf("%s is refused twice: %v", f.Field, err)
		}
		out[f.Field] = f.Reason
		if !strings.Contains(err.Error(), f.Field+": "+f.Reason) {
			t.Errorf("error %q does not show the refusal of %s", err, f.Field)
		}
	}
	if !strings.HasPrefix(err.Error(), "webhook: ") || strings.Contains(err.Error(), ": webhook: ") {
		t.Errorf("error %q does not have its package's prefix once", err)
	}
	return out
}

func TestSettingsDefaults(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.FixedZone("CEST", 7200))
	d, _ := newIdle(t, webhook.Config{Now: func() time.Time { return now }})
	got, secret, err := d.CreateWebhook(t.Context(), tenant, goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	stored := now.UTC().Truncate(time.Microsecond)
	want := webhook.Webhook{
		ID: got.ID, Tenant: tenant, Name: "CRM", URL: "https://crm.example.com/in", Events: []string{"agent.*"},
		Active: true, VerifyTLS: true, Timeout: 30 * time.Second, MaxRetries: 3,
		CreatedAt: stored, UpdatedAt: stored, Version: 1,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a new webhook (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got.ID, "wh_") || len(got.ID) != 29 || !webhook.ValidID(got.ID) {
		t.Errorf("ID %q is not wh_ and 26 characters", got.ID)
	}
	if !strings.HasPrefix(secret.Reveal(), "whsec_") {
		t.Error("the secret does not begin with whsec_")
	}
	read, err := d.Webhook(t.Context(), tenant, got.ID)
	if diff := cmp.Diff(got, read, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("read again (-created +read): %v\n%s", err, diff)
	}
}

// Every setting at its limits, through creating and through editing.
func TestH13_EverySettingHasItsLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("n", n) }
	patterns := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("type.%d", i))
		}
		return out
	}
	headers := func(n int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("X-H%d", i)] = "v"
		}
		return out
	}
	url := func(n int) string { return "https://h.example.com/" + long(n-22) }
	tests := []struct {
		name string
		set  func(*webhook.WebhookSpec, *webhook.WebhookUpdate)
		// refused field, empty when the spec is accepted, and a text in its reason.
		field   string
		reasons []string
	}{
		{"shortest name", name("x"), "", nil},
		{"longest name", name(long(128)), "", nil},
		{"name too long", name(long(129)), "name", []string{"128", "129"}},
		{"no name", name(""), "name", []string{"required", "128"}},
		{"name with a line break", name("a\nb"), "name", []string{"control", `"a\nb"`}},
		{"name with C1 control", name("a\u0085b"), "name", []string{"control"}},
		{"name that is not UTF-8", name("a\xff"), "name", []string{"UTF-8", `"a\xff"`}},
		{"name in any script", name("Kundenpost – 顧客 🚀"), "", nil},

		{"longest description", description(long(1024)), "", nil},
		{"no description", description(""), "", nil},
		{"description too long", description(long(1025)), "description", []string{"1024", "1025"}},
		{"description with NUL", description("a\x00"), "description", []string{"control"}},

		{"longest URL", address(url(2048)), "", nil},
		{"URL too long", address(url(2049)), "url", []string{"2048", "2049"}},
		{"no URL", address(""), "url", []string{"required"}},
		{"http", address("http://h.example.com/"), "url", []string{"https://"}},
		{"private address", address("https://10.0.0.1/"), "url", []string{"10.0.0.1", "public"}},

		{"one event type", events("a"), "", nil},
		{"all events", events("*"), "", nil},
		{"100 event types", events(patterns(100)...), "", nil},
		{"101 event types", events(patterns(101)...), "events", []string{"100", "101"}},
		{"no event types", events(), "events", []string{"at least one"}},
		{"empty event type", events("a", ""), "events[1]", []string{"required"}},
		{"star inside", events("a.*.b"), "events[0]", []string{`"a.*.b"`}},
		{"star without a dot", events("a*"), "events[0]", []string{`"a*"`}},
		{"two stars", events("*.*"), "events[0]", []string{`"*"`}},
		{"nothing before the star", events(".*"), "events[0]", []string{"required"}},
		{"empty part", events("a..b"), "events[0]", []string{`"a..b"`}},
		{"trailing dot", events("a."), "events[0]", []string{`"a."`}},
		{"space", events("a b"), "events[0]", []string{`"a b"`}},
		{"not ASCII", events("ä"), "events[0]", []string{`"\u00e4"`}},
		{"longest event type", events(long(128), long(128)+".*"), "", nil},
		{"event type too long", events(long(129)), "events[0]", []string{"128", "129"}},

		{"20 headers", headersOf(headers(20)), "", nil},
		{"21 headers", headersOf(headers(21)), "headers", []string{"20", "21"}},
		{"no headers", headersOf(map[string]string{}), "", nil},
		{"reserved header", headersOf(map[string]string{"host": "marker-value"}), "headers", []string{`"host"`, "reserved"}},
		{"line break in a value", headersOf(map[string]string{"X-A": "marker-value\r\nX-B: c"}), "headers", []string{`"X-A"`}},
		{"longest value", headersOf(map[string]string{"X-A": long(4096)}), "", nil},
		{"value too long", headersOf(map[string]string{"X-A": "marker-value" + long(4096)}), "headers", []string{`"X-A"`, "4096", "4108"}},

		{"timeout 1 s", timeout(time.Second), "", nil},
		{"timeout 300 s", timeout(300 * time.Second), "", nil},
		{"timeout 0", timeout(0), "timeout", []string{"1s", "5m0s", "got 0s"}},
		{"timeout below 0", timeout(-time.Second), "timeout", []string{"1s", "5m0s", "got -1s"}},
		{"timeout under 1 s", timeout(time.Second - 1), "timeout", []string{"1s", "999.999999ms"}},
		{"timeout 301 s", timeout(301 * time.Second), "timeout", []string{"5m0s", "got 5m1s"}},
		{"timeout 300 s and a bit", timeout(300*time.Second + 1), "timeout", []string{"5m0s", "5m0.000000001s"}},

		{"retries 0", retries(0), "", nil},
		{"retries 10", retries(10), "", nil},
		{"retries 11", retries(11), "maxRetries", []string{"0–10", "got 11"}},
		{"retries below 0", retries(-1), "maxRetries", []string{"0–10", "got -1"}},

		{"no rate limit", rate(0), "", nil},
		{"lowest rate limit", rate(0.01), "", nil},
		{"highest rate limit", rate(10_000), "", nil},
		{"rate limit too low", rate(0.0099), "rateLimit", []string{"0 for no limit", "0.01–10000", "got 0.0099"}},
		{"rate limit too high", rate(10_001), "rateLimit", []string{"0.01–10000", "got 10001"}},
		{"rate limit below 0", rate(-1), "rateLimit", []string{"0.01–10000", "got -1"}},
		{"rate limit that is no number", rate(math.NaN()), "rateLimit", []string{"0.01–10000", "NaN"}},
		{"rate limit without end", rate(math.Inf(1)), "rateLimit", []string{"0.01–10000", "Inf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := newIdle(t, webhook.Config{})
			before, _, err := d.CreateWebhook(t.Context(), "other", goodSpec())
			if err != nil {
				t.Fatal(err)
			}
			spec, update := goodSpec(), webhook.WebhookUpdate{}
			tt.set(&spec, &update)
			_, _, createErr := d.CreateWebhook(t.Context(), tenant, spec)
			after, updateErr := d.UpdateWebhook(t.Context(), "other", before.ID, 1, update)
			if tt.field == "" {
				if createErr != nil || updateErr != nil {
					t.Fatalf("refused: %v; %v", createErr, updateErr)
				}
				return
			}
			for _, err := range []error{createErr, updateErr} {
				got := refusals(t, err)
				reason, ok := got[tt.field]
				if !ok || len(got) != 1 {
					t.Fatalf("refused %v, want only %s", got, tt.field)
				}
				for _, part := range tt.reasons {
					if !strings.Contains(reason, part) {
						t.Errorf("reason %q does not say %q", reason, part)
					}
				}
				if strings.Contains(err.Error(), "marker-value") {
					t.Errorf("error %q shows the value of a header", err)
				}
			}
			if !cmp.Equal(after, webhook.Webhook{}) {
				t.Errorf("a refused update returned %+v", after)
			}
			if p, err := d.Webhooks(t.Context(), webhook.WebhookQuery{Tenant: tenant}); err != nil || len(p.Items) != 0 {
				t.Errorf("a refused webhook was stored: %+v, %v", p, err)
			}
			now, err := d.Webhook(t.Context(), "other", before.ID)
			if diff := cmp.Diff(before, now, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("a refused update changed the webhook: %v\n%s", err, diff)
			}
		})
	}
}

type setter = func(*webhook.WebhookSpec, *webhook.WebhookUpdate)

func name(s string) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.Name, u.Name = s, &s }
}

func description(s string) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.Description, u.Description = s, &s }
}

func address(s string) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.URL, u.URL = s, &s }
}

func events(s ...string) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) {
		w.Events, u.Events = s, append([]string{}, s...)
	}
}

func headersOf(h map[string]string) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.Headers, u.Headers = h, h }
}

func timeout(d time.Duration) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.Timeout, u.Timeout = &d, &d }
}

func retries(n int) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) { w.MaxRetries, u.MaxRetries = &n, &n }
}

func rate(perSecond float64) setter {
	return func(w *webhook.WebhookSpec, u *webhook.WebhookUpdate) {
		w.RateLimit, u.RateLimit = perSecond, &perSecond
	}
}

func TestH13_ZeroCanBeSaid(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	for want, given := range map[int]*int{3: nil, 0: new(0)} {
		spec := goodSpec()
		spec.MaxRetries = given
		w, _, err := d.CreateWebhook(t.Context(), tenant, spec)
		if err != nil || w.MaxRetries != want {
			t.Errorf("retries given as %v became %d, %v; want %d", given, w.MaxRetries, err, want)
		}
	}
	spec := goodSpec()
	spec.Active, spec.VerifyTLS, spec.RateLimit = new(false), new(false), 2.5
	w, _, err := d.CreateWebhook(t.Context(), tenant, spec)
	if err != nil || w.Active || w.VerifyTLS || w.DisabledReason == "" || w.DisabledAt.IsZero() || w.RateLimit != 2.5 {
		t.Errorf("asked for inactive and no verification, got %+v, %v", w, err)
	}
	w, err = d.UpdateWebhook(t.Context(), tenant, w.ID, w.Version, webhook.WebhookUpdate{VerifyTLS: new(true), MaxRetries: new(0), RateLimit: new(0.0)})
	if err != nil || !w.VerifyTLS || w.MaxRetries != 0 || w.RateLimit != 0 || w.Active {
		t.Errorf("after the update: %+v, %v", w, err)
	}
}

func TestSettingsRefusedTogetherAreAllListed(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{ForbidUnverifiedTLS: true})
	spec := webhook.WebhookSpec{
		Name: "", URL: "ftp://x", Events: []string{"ok", "not ok", "*x"}, Description: "\x01",
		Headers: map[string]string{"Cookie ": "v"}, VerifyTLS: new(false),
		Timeout: new(time.Hour), MaxRetries: new(99), RateLimit: 1e9, Secret: "short",
	}
	_, _, err := d.CreateWebhook(t.Context(), "ten\x00ant", spec)
	got := slices.Sorted(maps.Keys(refusals(t, err)))
	want := []string{"description", "events[1]", "events[2]", "headers", "maxRetries", "name", "rateLimit", "secret", "sslVerification", "tenant", "timeout", "url"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused fields (-want +got):\n%s", diff)
	}
}

func TestSettingsTenantHasLimits(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	for tenant, reason := range map[string]string{
		"": "required", strings.Repeat("t", 129): "128", "a\x00b": "control", "a\xff": "UTF-8",
	} {
		_, _, err := d.CreateWebhook(t.Context(), tenant, goodSpec())
		if r := refusals(t, err)["tenant"]; !strings.Contains(r, reason) {
			t.Errorf("tenant %q: %q does not say %q", tenant, r, reason)
		}
		_, err = d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "x", Data: map[string]any{}})
		if r := refusals(t, err)["tenant"]; !strings.Contains(r, reason) {
			t.Errorf("publish for tenant %q: %q does not say %q", tenant, r, reason)
		}
	}
	if _, _, err := d.CreateWebhook(t.Context(), strings.Repeat("t", 128), goodSpec()); err != nil {
		t.Error(err)
	}
}

func TestSettingsAreNormalised(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	spec := goodSpec()
	spec.URL = "HTTPS://CRM.Example.COM:443"
	spec.Events = []string{"b", "a", "b", "*", "a"}
	spec.Headers = map[string]string{"x-api-key": "  k1 "}
	spec.Timeout = new(1500*time.Millisecond + 999)
	got, _, err := d.CreateWebhook(t.Context(), tenant, spec)
	if err != nil {
		t.Fatal(err)
	}
	want := got
	want.URL, want.Events = "https://crm.example.com/", []string{"b", "a", "*"}
	want.Headers, want.Timeout = map[string]string{"X-Api-Key": "k1"}, 1500*time.Millisecond
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("normalised settings (-want +got):\n%s", diff)
	}
}

// Memory that a caller passes in or gets back is its own: writing to it has no
// effect on the store or a running dispatcher.
func TestSettingsKeepNoMemoryOfTheCaller(t *testing.T) {
	inBubble(t, webhook.Config{}, func(w *world) {
		ctx := context.Background()
		w.start()
		spec := goodSpec()
		spec.Events, spec.Headers = []string{"agent.*"}, map[string]string{"X-Key": "one"}
		created, _, err := w.CreateWebhook(ctx, tenant, spec)
		if err != nil {
			t.Fatal(err)
		}
		w.publish()
		w.pass(time.Second)
		spoil := func(events []string, headers map[string]string) {
			events[0] = "spoiled"
			headers["X-Key"], headers["X-Spoiled"] = "spoiled", "yes"
		}
		spoil(spec.Events, spec.Headers)
		spoil(created.Events, created.Headers)
		update := webhook.WebhookUpdate{Events: []string{"agent.*", "user.*"}, Headers: map[string]string{"X-Key": "two"}}
		updated, err := w.UpdateWebhook(ctx, tenant, created.ID, created.Version, update)
		if err != nil {
			t.Fatal(err)
		}
		spoil(update.Events, update.Headers)
		spoil(updated.Events, updated.Headers)
		read, err := w.Webhook(ctx, tenant, created.ID)
		if err != nil {
			t.Fatal(err)
		}
		spoil(read.Events, read.Headers)
		w.publish()
		w.pass(time.Second)
		got := w.rx.at("crm.example.com")
		if len(got) != 2 {
			t.Fatalf("received %d requests, want 2", len(got))
		}
		for i, want := range []string{"one", "two"} {
			if h := got[i].header; h.Get("X-Key") != want || h.Get("X-Spoiled") != "" {
				t.Errorf("request %d was sent with %q and %q, want %q and nothing", i, h.Get("X-Key"), h.Get("X-Spoiled"), want)
			}
		}
	})
}

func TestSettingsUnverifiedTLSOnlyWhereAllowed(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{ForbidUnverifiedTLS: true})
	spec := goodSpec()
	spec.VerifyTLS = new(false)
	_, _, err := d.CreateWebhook(t.Context(), tenant, spec)
	if got := refusals(t, err); len(got) != 1 || got["sslVerification"] == "" {
		t.Errorf("refused %v", got)
	}
	d, _ = newIdle(t, webhook.Config{AllowHTTP: true})
	spec.URL = "http://h.example.com/x"
	w, _, err := d.CreateWebhook(t.Context(), tenant, spec)
	if err != nil || w.VerifyTLS || w.URL != "http://h.example.com/x" {
		t.Errorf("where both are allowed: %+v, %v", w, err)
	}
}

func TestH1_EveryRefusedHeaderIsNamed(t *testing.T) {
	d, _ := newIdle(t, webhook.Config{})
	_, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
		Name: "n", URL: "https://h.example.com/", Events: []string{"*"},
		Headers: map[string]string{"Content-Type": "x", "Host": "x", "A b": "x", "X-Good": "x", "X-Bad": "\x00"},
	})
	wantErr(t, err, webhook.ErrInvalid, `"Content-Type" is reserved`, `"Host" is reserved`, `"A b"`, `"X-Bad"`)
}
