package storetest

import (
	"slices"

	"github.com/seed68722ecd/webhook"
)

const saysWalkAll = "WalkWebhooks returns up to limit webhooks of all tenants with their secrets, in ascending byte order of their IDs, " +
	"beginning behind the ID after; fewer than limit means that there are no more."

// walk reads the webhooks of all tenants, and calls between after every page.
// ok is false if the Store is not a WebhookWalker.
func (r *run) walk(limit int, between func(seen []string)) (ids []string, ok bool) {
	r.Helper()
	w, ok := r.store.(webhook.WebhookWalker)
	if !ok {
		return nil, false
	}
	after := ""
	for pages := 0; ; pages++ {
		recs, err := w.WalkWebhooks(r.Context(), after, limit)
		r.must("WalkWebhooks", err)
		if len(recs) > limit {
			r.fatalf("WalkWebhooks returned %d webhooks, limit is %d", len(recs), limit)
		}
		for _, rec := range recs {
			ids, after = append(ids, rec.ID), rec.ID
		}
		if len(recs) < limit {
			return ids, true
		}
		if pages > 100 {
			r.fatalf("the walk does not end")
		}
		if between != nil {
			between(ids)
		}
	}
}

var walkChecks = []check{
	{"AllTenants", saysWalkAll, func(r *run) {
		want := r.twelve() // newest first, and out of order
		for _, id := range []string{"wh_Z", "wh_aa", "wh_-", "wh__", "wh_0"} {
			r.create(t2, id, func(w *webhook.WebhookRecord) { w.Active = id != "wh_0" })
			want = append(want, id)
		}
		r.create(t2, "wh_gone", nil)
		r.remove(t2, "wh_gone")
		slices.Sort(want)
		for _, limit := range []int{1, 2, 5, 16, 17, 18, 500} {
			if got, ok := r.walk(limit, nil); ok {
				r.same("IDs in pages of "+itoa(limit), want, got)
			}
		}
	}},
	{"RecordsAreWhole", saysWalkAll, func(r *run) {
		s, ok := r.store.(webhook.WebhookWalker)
		if !ok {
			return
		}
		w1 := r.create(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Active, w.DisabledReason, w.DisabledAt, w.Headers = false, "why", r.now, map[string]string{"X-A": "§1:k:AAAA"}
			w.Secrets = append(w.Secrets, webhook.SecretRecord{Value: "§1:k:BBBB", CreatedAt: r.now, ExpiresAt: r.now})
		})
		w2 := r.create(t2, "wh_2", nil)
		got, err := s.WalkWebhooks(r.Context(), "", 10)
		r.must("WalkWebhooks", err)
		r.same("records", []webhook.WebhookRecord{w1, w2}, got)
		if len(got) == 0 {
			return
		}
		got[0].Headers["X-A"], got[0].Secrets[0].Value, got[0].Events[0] = "changed", "changed", "changed"
		r.same("the webhook after the answer was changed", w1, r.get(t1, "wh_1"))
	}},
	{"ExactlyOnceBesideChanges", "A webhook that exists throughout a walk is returned exactly once.", func(r *run) {
		want := r.twelve()
		slices.Sort(want)
		n := 0
		got, ok := r.walk(3, func(seen []string) {
			n++
			last := seen[len(seen)-1]
			r.create(t2, last+"0", nil)       // comes next
			r.create(t2, "wh_0"+itoa(n), nil) // has been passed
			r.edit(t1, last, func(w *webhook.WebhookRecord) { w.Name = "edited" })
			if n == 2 {
				r.remove(t2, "wh_01")
			}
		})
		if !ok {
			return
		}
		for _, id := range want {
			if c := slices.Index(got, id); c < 0 || slices.Contains(got[c+1:], id) {
				r.brokenf("%s is not returned once: %v", id, got)
			}
		}
	}},
}
