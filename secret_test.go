package webhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
)

// disguises returns a secret in every form in which it could leak: as it is
// and encoded, with and without its prefix, forwards and backwards.
func disguises(secret string) map[string]string {
	out := make(map[string]string)
	add := func(what string, raw []byte) {
		backwards := slices.Clone(raw)
		slices.Reverse(backwards)
		for dir, b := range map[string][]byte{what: raw, what + " reversed": backwards} {
			out[dir] = string(b)
			out[dir+" in hex"] = hex.EncodeToString(b)
			// Wherever it stands, and without the characters that depend on their neighbours.
			for before := range 3 {
				at := append(make([]byte, before), b...)
				from, to := (8*before+5)/6, 8*len(at)/6
				out[fmt.Sprintf("%s in base64 after %d", dir, before)] = base64.RawStdEncoding.EncodeToString(at)[from:to]
				out[fmt.Sprintf("%s in base64url after %d", dir, before)] = base64.RawURLEncoding.EncodeToString(at)[from:to]
			}
			out[dir+" URL-encoded"] = url.QueryEscape(string(b))
			out[dir+" as numbers"] = strings.Trim(fmt.Sprint(b[:12]), "[]")
		}
	}
	add("text", []byte(secret))
	if rest, ok := strings.CutPrefix(secret, "whsec_"); ok {
		add("text without its prefix", []byte(rest))
		if key, err := base64.StdEncoding.DecodeString(rest); err == nil {
			add("key", key)
		}
	}
	return out
}

// leaks reports how any of the secrets shows in text.
func leaks(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, leak := range leaksIn(text, secrets) {
		t.Errorf("%s shows secret %s", where, leak)
	}
}

func leaksIn(text string, secrets []string) (out []string) {
	lower := strings.ToLower(text)
	for i, s := range secrets {
		for how, form := range disguises(s) {
			if strings.Contains(text, form) || strings.HasSuffix(how, "hex") && strings.Contains(lower, form) {
				out = append(out, fmt.Sprintf("%d: %s", i, how))
			}
		}
	}
	return out
}

// verbs are the ways in which fmt can look into a value.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"}

// printed returns everything that fmt and log/slog make of a value.
func printed(v any) string {
	var b bytes.Buffer
	for _, verb := range verbs {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("value", "v", v, "list", []any{1}, slog.Group("g", "v", v))
	}
	return b.String()
}

func TestR15_SecretShowsItselfToRevealOnly(t *testing.T) {
	for _, text := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", "marker-of-an-imported-secret-0123456789"} {
		s := webhook.NewSecret(text)
		if s.Reveal() != text {
			t.Errorf("Reveal gives %q", s.Reveal())
		}
		signer, err := webhook.ParseEd25519Signer("whsk_" + base64.StdEncoding.EncodeToString([]byte(text[:32])))
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(map[string]any{"s": s, "p": &s, "k": signer, "m": map[string]webhook.Secret{"s": s}})
		if err != nil || !strings.Contains(string(encoded), webhook.Redacted) {
			t.Errorf("as JSON: %s, %v", encoded, err)
		}
		shown := string(encoded)
		spec := goodSpec()
		spec.Secret = text
		record := webhook.SecretRecord{Value: text, CreatedAt: time.Now()}
		for _, v := range []any{
			s, &s, []webhook.Secret{s}, struct{ S webhook.Secret }{s}, struct{ s webhook.Secret }{s}, map[string]webhook.Secret{"s": s},
			spec, &spec, webhook.Rotation{Secret: text}, &webhook.Rotation{Secret: text}, []webhook.Rotation{{Secret: text}},
			record, &record, []webhook.SecretRecord{record}, webhook.WebhookRecord{Secrets: []webhook.SecretRecord{record}},
			signer, *signer, webhook.Config{Signer: signer}, webhook.Signers(signer),
		} {
			if list, ok := v.([]webhook.SecretRecord); ok { // slog encodes a list as a Store would
				shown += fmt.Sprintf("%v %+v %#v %s %d %q %x", list, list, list, list, list, list, list)
				continue
			}
			if list, ok := v.([]webhook.Rotation); ok {
				shown += fmt.Sprintf("%v %+v %#v %s %d %q %x", list, list, list, list, list, list, list)
				continue
			}
			shown += printed(v)
		}
		leaks(t, "printing", shown, []string{text, text[:32]})
		if !strings.Contains(fmt.Sprint(spec), "crm.example.com") || !strings.Contains(fmt.Sprintf("%+v", webhook.Rotation{Overlap: new(time.Hour)}), "Overlap") {
			t.Error("what is no secret is not printed")
		}
	}
	if (webhook.Secret{}).Reveal() != "" || fmt.Sprint(webhook.Secret{}) != webhook.Redacted {
		t.Error("the zero Secret reveals something, or prints as something else")
	}
	if got := fmt.Sprint(webhook.Rotation{}); strings.Contains(got, webhook.Redacted) {
		t.Errorf("a rotation without a secret prints as %s", got)
	}
}

// A whole life of webhooks, with every log line, error, result, stored attempt
// and byte on the wire kept: they never show a secret.
func TestR15_R16_P4_NothingShowsASecret(t *testing.T) {
	var jsonLog, textLog bytes.Buffer
	both := slog.NewMultiHandler(
		slog.NewJSONHandler(&jsonLog, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}),
		slog.NewTextHandler(&textLog, &slog.HandlerOptions{Level: slog.LevelDebug}),
	)
	var seen strings.Builder
	var secrets []string
	var mu sync.Mutex
	note := func(vs ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range vs {
			seen.WriteString(printed(v))
			if b, err := json.Marshal(v); err == nil {
				seen.Write(b)
			}
		}
	}
	cfg := webhook.Config{
		Logger: slog.New(both), Retry: noJitter, DisableAfter: 10 * time.Minute,
		Hooks: webhook.Hooks{
			Attempt:   func(d webhook.Delivery, a webhook.Attempt) { note(d, a) },
			Succeeded: func(d webhook.Delivery, a webhook.Attempt) { note(d, a) },
			Failed:    func(d webhook.Delivery) { note(d) },
			Failing:   func(w webhook.Webhook, _, _ time.Time) { note(w) },
			Disabled:  func(w webhook.Webhook) { note(w) },
		},
		Signer: webhook.Signers(webhook.DefaultSigner(), signerFunc(func(h http.Header, m webhook.Message, s []webhook.Secret) error {
			note(m, s)
			if strings.Contains(string(m.Body), "panic") {
				panic(fmt.Sprint("cannot sign with ", s))
			}
			if strings.Contains(string(m.Body), "refuse") {
				return fmt.Errorf("cannot sign with %v", s)
			}
			return nil
		})),
	}
	inBubble(t, cfg, func(w *world) {
		ctx := context.Background()
		w.start()
		imported := "marker-imported-secret/with+signs=and%stuff&0123456789"
		var hooks []webhook.Webhook
		for i, host := range []string{"ok", "down", "gone", "panic", "refuse", "echo"} {
			wh, s := w.hookSecret(host+".example.com", func(spec *webhook.WebhookSpec) {
				if i == 0 {
					spec.Secret = imported
				}
			})
			hooks, secrets = append(hooks, wh), append(secrets, s.Reveal())
			note(wh, s)
		}
		w.rx.status("down.example.com", 500)
		w.rx.status("gone.example.com", 410)
		w.rx.on("echo.example.com", func(_ int, r *http.Request) (int, http.Header, error) {
			return 400, r.Header.Clone(), nil
		})
		id := w.publish()
		w.pass(3 * time.Hour)
		for _, r := range []webhook.Rotation{{}, {Secret: imported + "-second"}, {Overlap: new(time.Duration(0))}} {
			wh, s, err := w.RotateSecret(ctx, tenant, hooks[0].ID, r)
			secrets = append(secrets, s.Reveal())
			note(wh, s, err, r)
			w.publish()
			w.pass(time.Second)
		}
		note(w.Webhook(ctx, tenant, hooks[0].ID))
		note(w.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant}))
		note(w.Webhooks(ctx, webhook.WebhookQuery{Tenant: tenant, Search: secrets[0]}))
		note(w.UpdateWebhook(ctx, tenant, hooks[0].ID, 99, webhook.WebhookUpdate{}))
		note(w.DisableWebhook(ctx, tenant, hooks[0].ID, ""))
		note(w.EnableWebhook(ctx, tenant, hooks[0].ID))
		note(w.SendTest(ctx, tenant, hooks[0].ID, webhook.TestEvent{}))
		note(w.Event(ctx, tenant, id))
		note(w.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant}))
		note(w.HourlyStats(ctx, webhook.StatsQuery{Tenant: tenant}))
		note(w.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: hooks[0].ID, DryRun: true}))
		note(w.Stats())
		for _, d := range w.deliveries(webhook.DeliveryQuery{}) {
			note(w.attemptsOf(d))
		}
		for _, s := range []string{secrets[0] + "\n", secrets[1] + "ü", strings.Repeat(secrets[0], 20)} {
			spec := goodSpec()
			spec.Secret = s
			_, _, err := w.CreateWebhook(ctx, tenant, spec)
			note(err)
			refusals(t, err)
			_, _, err = w.RotateSecret(ctx, tenant, hooks[0].ID, webhook.Rotation{Secret: s})
			note(err)
			refusals(t, err)
		}
		note(w.DeleteWebhook(ctx, tenant, hooks[0].ID))

		var wire strings.Builder
		for _, r := range w.rx.got {
			wire.WriteString(r.host + r.path + "\r\n")
			if err := r.header.Write(&wire); err != nil {
				t.Fatal(err)
			}
			wire.WriteString(r.body)
		}
		if len(w.rx.at("ok.example.com")) < 4 || len(w.rx.at("panic.example.com")) != 0 || len(w.rx.at("refuse.example.com")) != 0 {
			t.Errorf("%d requests in all: the scenario did not run as it should", len(w.rx.got))
		}
		leaks(t, "the wire", wire.String(), secrets)
		w.end()
		leaks(t, "a result, an error or a hook's argument", seen.String(), secrets)
		log := jsonLog.String() + textLog.String()
		leaks(t, "the log", log, secrets)
		for _, what := range []string{"410 Gone", "panicked", "could not be signed", `"level":"DEBUG"`, "keeps failing"} {
			if !strings.Contains(log+seen.String(), what) {
				t.Errorf("the scenario did not come by %q", what)
			}
		}
	})
}

func TestLeakDetectorHasTeeth(t *testing.T) {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	forms := disguises(secret)
	if len(forms) < 30 {
		t.Errorf("%d forms only", len(forms))
	}
	for how, form := range forms {
		if leaksIn("before "+form+" after", []string{secret}) == nil {
			t.Errorf("a secret that is shown as %s is not found", how)
		}
	}
	if found := leaksIn("nothing to see", []string{secret}); found != nil {
		t.Errorf("found where there is none: %v", found)
	}
}
