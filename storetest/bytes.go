package storetest

import (
	"bytes"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysBytes   = "Byte slices hold any bytes and come back unchanged, never re-encoded."
	saysTimes   = "Times are UTC and keep microseconds."
	saysStrings = "Strings are valid UTF-8 without NUL, checked by the Dispatcher."
)

// nasty is text that databases are known to change.
const nasty = "\U0001F600\U0001F468\u200d\U0001F469 e\u0301 \u00e9 \u2028\u2029 \u202e \ufeff \ufffd \U0010FFFF \u0001\u001f\u007f\u0085 \t\r\n " +
	`'"` + "`" + `\ \n \x00 \u0000 %s %_ $1 ? :a @b -- /* */ ; {{.}} <script> ` + "  "

var bytesChecks = []check{
	{"DataIsUnchanged", saysBytes, func(r *run) {
		datas := [][]byte{
			[]byte(`{"b":1,"a":2,"a":3}`), []byte(`{"n":1e2,"m":1.0,"o":-0,"big":123456789012345678901234567890}`),
			[]byte(`{"z":"\u0000","l":"\ud800","e":"\u00e9","s":"\/"}`), []byte("{\n\t\"spaces\" : 1 }\n"),
			[]byte(`{"` + "\u2028" + `":"` + "\U0001F600" + `","__proto__":{}}`), []byte("{}"), {0}, {0xff, 0xfe}, allBytes(1024), []byte(`\x7b7d`),
		}
		var reqs []webhook.PublishRequest
		r.create(t1, "wh_1", nil)
		for i, data := range datas {
			req := r.request(t1, "e"+itoa(i), "a.b")
			req.Event.Data = data
			reqs = append(reqs, req)
		}
		r.publish(reqs...)
		ds, _ := r.claimN(len(datas))
		for _, d := range ds {
			if want := datas[int(d.Event.ID[1]-'0')]; !bytes.Equal(want, d.Event.Data) {
				r.brokenf("claimed data is %q, want %q", d.Event.Data, want)
			}
		}
		for i, data := range datas {
			ev, err := r.store.GetEvent(r.Context(), t1, "e"+itoa(i))
			r.must("GetEvent", err)
			if !bytes.Equal(data, ev.Data) {
				r.brokenf("data read is %q, want %q", ev.Data, data)
			}
			r.same("result of publishing it again", webhook.PublishResult{Duplicate: true}, r.publish(reqs[i])[0])
		}
	}},
	{"TraceIsKept", "Trace is the trace to which the event belongs", func(r *run) {
		r.create(t1, "wh_1", nil)
		traces := []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", strings.Repeat("t", 128), ""}
		var reqs []webhook.PublishRequest
		for i, trace := range traces {
			req := r.request(t1, "e"+itoa(i), "a.b")
			req.Event.Trace = trace
			reqs = append(reqs, req)
		}
		r.publish(reqs[:3]...)
		r.publish(reqs[3])
		for i := range reqs { // not compared
			reqs[i].Event.Trace = "another"
			r.same("result of publishing it again", webhook.PublishResult{Duplicate: true}, r.publish(reqs[i])[0])
		}
		ds, _ := r.claimN(len(traces))
		for _, d := range ds {
			want := traces[int(d.Event.ID[1]-'0')]
			r.same("trace of a claimed event", want, d.Event.Trace)
			ev, err := r.store.GetEvent(r.Context(), t1, d.Event.ID)
			r.must("GetEvent", err)
			r.same("trace of an event", want, ev.Trace)
		}
	}},
	{"LargeData", saysBytes, func(r *run) {
		r.create(t1, "wh_1", nil)
		req := r.request(t1, "e1", "a.b")
		req.Event.Data = bytes.Repeat(allBytes(256), 1024) // 256 KiB
		r.publish(req)
		ds, _ := r.claimN(1)
		if !bytes.Equal(req.Event.Data, ds[0].Event.Data) {
			r.brokenf("256 KiB of data came back changed, %d bytes long", len(ds[0].Event.Data))
		}
	}},
	{"StringsAreUnchanged", saysStrings, func(r *run) {
		w := r.create("tenant "+nasty, "wh_1", func(w *webhook.WebhookRecord) {
			w.Name, w.URL, w.Description = nasty, "https://example.com/?q="+nasty, strings.Repeat(nasty, 10)
			w.Headers = map[string]string{nasty: nasty}
			w.Secrets[0].Value = nasty
			w.Active, w.DisabledReason = false, nasty
		})
		r.same("webhook", w, r.get(w.Tenant, "wh_1"))
		r.edit(w.Tenant, "wh_1", func(w *webhook.WebhookRecord) { w.Active = true })
		r.emit(w.Tenant, "e1")
		ds, tok := r.claimN(1)
		r.same("WebhookName", nasty, ds[0].Delivery.WebhookName)
		res := r.failure(ds[0].Delivery, tok)
		res.Attempt.Error = nasty
		res.Attempt.ResponseHeaders = map[string]string{"Server": nasty}
		r.finish(res)
		as, err := r.store.ListAttempts(r.Context(), w.Tenant, ds[0].Delivery.ID)
		r.must("ListAttempts", err)
		r.same("attempts", []webhook.Attempt{*res.Attempt}, as)
	}},
	{"LongStrings", saysStrings, func(r *run) {
		w := r.create(strings.Repeat("t", 200), "wh_"+strings.Repeat("w", 61), func(w *webhook.WebhookRecord) {
			w.Name, w.Description = strings.Repeat("n", webhook.MaxNameLength), strings.Repeat("d", webhook.MaxDescriptionLength)
			w.URL = "https://example.com/" + strings.Repeat("u", webhook.MaxURLLength-20)
			w.Events = nil
			for i := range webhook.MaxEventPatterns {
				w.Events = append(w.Events, strings.Repeat("x", 100)+"."+itoa(i))
			}
			for i := range 20 {
				w.Headers["X-"+itoa(i)] = strings.Repeat("h", 1000)
			}
			w.Secrets[0].Value = strings.Repeat("s", 2000)
		})
		r.same("webhook", w, r.get(w.Tenant, w.ID))
		id := strings.Repeat("e", 64)
		r.same("deliveries", 1, r.publish(r.request(w.Tenant, id, w.Events[99]))[0].Deliveries)
		ds, _ := r.claimN(1)
		r.same("event ID", id, ds[0].Delivery.EventID)
	}},
	{"TimesKeepMicroseconds", saysTimes, func(r *run) {
		us := func(n int) time.Time { return start.Add(time.Duration(n) * time.Microsecond) }
		r.create(t1, "wh_1", func(w *webhook.WebhookRecord) { w.CreatedAt, w.UpdatedAt = us(1), us(2) })
		w := r.get(t1, "wh_1")
		r.same("CreatedAt", us(1), w.CreatedAt)
		r.same("UpdatedAt", us(2), w.UpdatedAt)
		req := r.request(t1, "e1", "a.b")
		req.Event.Time = time.Date(1999, time.December, 31, 23, 59, 59, 999999000, time.UTC)
		r.publish(req)
		ev, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		r.same("Time", req.Event.Time, ev.Time)
	}},
	{"TimesAreUTC", saysTimes, func(r *run) {
		r.create(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Active, w.DisabledAt = false, r.now
			w.Secrets[0].ExpiresAt = r.now
		})
		disabled := r.get(t1, "wh_1")
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Active, w.DisabledAt = true, time.Time{} })
		r.emit(t1, "e1")
		d, l := r.claimOne()
		pending := r.delivery(d.ID)
		r.finish(r.failure(d, l.Token))
		w, done := r.get(t1, "wh_1"), r.delivery(d.ID)
		ev, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
		for what, t := range map[string]time.Time{
			"Webhook.CreatedAt": w.CreatedAt, "Webhook.UpdatedAt": w.UpdatedAt, "Webhook.DisabledAt": disabled.DisabledAt,
			"Webhook.LastTriggeredAt": w.LastTriggeredAt, "Webhook.FailingSince": w.FailingSince,
			"SecretRecord.CreatedAt": w.Secrets[0].CreatedAt, "SecretRecord.ExpiresAt": disabled.Secrets[0].ExpiresAt,
			"EventRecord.Time": ev.Time, "Delivery.CreatedAt": pending.CreatedAt, "Delivery.NextAttemptAt": pending.NextAttemptAt,
			"Delivery.FinishedAt": done.FinishedAt, "Attempt.StartedAt": r.attempts(d.ID)[0].StartedAt,
			"StatsBucket.Hour": r.stats(webhook.StatsQuery{Tenant: t1})[0].Hour,
		} {
			if t.IsZero() || t.Location().String() != "UTC" {
				r.brokenf("%s is %v, want a time in UTC", what, t)
			}
		}
	}},
}
