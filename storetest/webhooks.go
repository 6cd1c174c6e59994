package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysCreate  = "It returns an error wrapping ErrExists when the ID is taken (in any tenant)"
	saysTooMany = "one wrapping ErrTooManyWebhooks when limit is above 0 and the tenant has that many webhooks"
	saysExactly = "Concurrent creations, also in several processes, do not exceed the limit."
	saysUpdate  = "UpdateWebhook replaces settings and secrets if the stored Version is w.Version, and stores Version+1"
	saysVersion = "otherwise it makes no change and returns an error wrapping ErrConflict, or ErrNotFound when the webhook does not exist"
	saysIgnored = "CreatedAt and the health fields of w are ignored: the stored values stay"
)

var webhookChecks = []check{
	{"ComesBackAsCreated", "GetWebhook returns one webhook with its secrets, or ErrNotFound.", func(r *run) {
		w := r.create(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Events = []string{"z.*", "a.b", "*"}
			w.Headers = map[string]string{"X-One": "1", "X-Two": "zwei \u2028 \U0001F600", "X-Empty": ""}
			w.Active, w.VerifyTLS, w.Timeout, w.MaxRetries, w.RateLimit = false, false, 300*time.Second, 0, 0
			w.DisabledReason, w.DisabledAt = "paused by hand", r.now.Add(-time.Hour)
			w.UpdatedAt = r.now.Add(time.Second)
		})
		r.same("webhook", w, r.get(t1, "wh_1"))
	}},
	{"FewSettings", "GetWebhook returns one webhook with its secrets, or ErrNotFound.", func(r *run) {
		w := r.create(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Description, w.Headers = "", nil })
		r.same("webhook", w, r.get(t1, "wh_1"))
	}},
	{"RateLimitComesBack", "GetWebhook returns one webhook with its secrets, or ErrNotFound.", func(r *run) {
		for i, limit := range []float64{0, webhook.MinRateLimit, 1.0 / 3, 1, webhook.MaxRateLimit} {
			id := "wh_" + itoa(i)
			r.create(t1, id, func(w *webhook.WebhookRecord) { w.RateLimit = limit })
			r.same("RateLimit", limit, r.get(t1, id).RateLimit)
			r.edit(t1, id, func(w *webhook.WebhookRecord) { w.RateLimit = limit + 0.25 })
			r.same("RateLimit after a change", limit+0.25, r.get(t1, id).RateLimit)
		}
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		r.emit(t1, "e1")
		ds, _ := r.claimN(5)
		for i := range 5 {
			want := r.get(t1, ds[i].Webhook.ID).RateLimit
			r.same("RateLimit of a claimed delivery's webhook", want, ds[i].Webhook.RateLimit)
			r.same("RateLimit in a list", r.get(t1, p.Items[i].ID).RateLimit, p.Items[i].RateLimit)
		}
	}},
	{"SecretsComeBackInOrder", "Secrets holds the current secret first, then older secrets that still sign during a rotation.", func(r *run) {
		secrets := []webhook.SecretRecord{
			{Value: "whsec_Mw==", CreatedAt: r.now},
			{Value: "cipher text: \u2028 \U0001F512 'quoted' \\", CreatedAt: r.now.Add(-time.Hour), ExpiresAt: r.now.Add(23*time.Hour + time.Microsecond)},
			{Value: "a", CreatedAt: r.now.Add(-2 * time.Hour), ExpiresAt: r.now.Add(-time.Minute)},
		}
		r.create(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Secrets = secrets })
		r.same("secrets", secrets, r.get(t1, "wh_1").Secrets)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Secrets = secrets[1:] })
		r.same("secrets after a change", secrets[1:], r.get(t1, "wh_1").Secrets)
		r.emit(t1, "e1")
		ds, _ := r.claimN(1)
		r.same("secrets of a claimed delivery", secrets[1:], ds[0].Webhook.Secrets)
	}},
	{"IDIsTaken", saysCreate, func(r *run) {
		w := r.create(t1, "wh_1", nil)
		again := r.hook(t1, "wh_1")
		again.Name = "another"
		r.wantErr("CreateWebhook", r.store.CreateWebhook(r.Context(), again, 0), webhook.ErrExists)
		r.same("webhook", w, r.get(t1, "wh_1"))
	}},
	{"IDIsTakenByAnotherTenant", saysCreate, func(r *run) {
		w := r.create(t1, "wh_1", nil)
		r.wantErr("CreateWebhook", r.store.CreateWebhook(r.Context(), r.hook(t2, "wh_1"), 0), webhook.ErrExists)
		r.same("webhook", w, r.get(t1, "wh_1"))
		_, err := r.store.GetWebhook(r.Context(), t2, "wh_1")
		r.wantErr("GetWebhook", err, webhook.ErrNotFound)
	}},
	{"OneOfManyCreators", saysCreate, func(r *run) {
		var racers sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			w := r.hook(t1, "wh_1")
			w.Name = "racer " + itoa(i)
			racers.Go(func() { errs[i] = r.store.CreateWebhook(r.Context(), w, 0) })
		}
		racers.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won < 0:
				won = i
			case !errors.Is(err, webhook.ErrExists):
				r.brokenf("racer %d: got error %v, want one that wraps ErrExists", i, err)
			}
		}
		if won < 0 {
			r.fatalf("none of %d creators won", len(errs))
		}
		r.same("name", "racer "+itoa(won), r.get(t1, "wh_1").Name)
	}},
	{"TooMany", saysTooMany, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", func(w *webhook.WebhookRecord) { w.Active = false })
		r.create(t2, "wh_3", nil)
		err := r.store.CreateWebhook(r.Context(), r.hook(t1, "wh_4"), 2)
		r.wantErr("the third webhook with limit 2", err, webhook.ErrTooManyWebhooks)
		_, err = r.store.GetWebhook(r.Context(), t1, "wh_4")
		r.wantErr("GetWebhook of the refused one", err, webhook.ErrNotFound)
		r.must("CreateWebhook with limit 3", r.store.CreateWebhook(r.Context(), r.hook(t1, "wh_4"), 3))
		r.must("CreateWebhook with limit 0", r.store.CreateWebhook(r.Context(), r.hook(t1, "wh_5"), 0))
		r.must("CreateWebhook in another tenant", r.store.CreateWebhook(r.Context(), r.hook(t2, "wh_6"), 2))
		r.remove(t2, "wh_3")
		r.must("CreateWebhook after a deletion", r.store.CreateWebhook(r.Context(), r.hook(t2, "wh_7"), 2))
	}},
	{"RacingCreatorsKeepTheLimit", saysExactly, func(r *run) {
		const limit, racers = 5, 16
		r.create(t1, "wh_first", nil)
		var racing sync.WaitGroup
		gate := make(chan struct{})
		errs := make([]error, 2*racers)
		for i := range errs {
			tenant := []string{t1, t2}[i%2]
			racing.Go(func() {
				<-gate
				errs[i] = r.store.CreateWebhook(r.Context(), r.hook(tenant, "wh_"+itoa(i)), limit)
			})
		}
		close(gate)
		racing.Wait()
		made := map[string]int{t1: 1}
		for i, err := range errs {
			if err == nil {
				made[[]string{t1, t2}[i%2]]++
			} else if !errors.Is(err, webhook.ErrTooManyWebhooks) {
				r.brokenf("racer %d: got error %v, want none or one that wraps ErrTooManyWebhooks", i, err)
			}
		}
		for _, tenant := range []string{t1, t2} {
			p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: tenant})
			r.must("ListWebhooks", err)
			if made[tenant] != limit || len(p.Items) != limit {
				r.brokenf("%d creations at once with limit %d left tenant %s with %d webhooks, %d of which were reported as created",
					racers, limit, tenant, len(p.Items), made[tenant])
			}
		}
	}},
	{"Delete", "DeleteWebhook removes the webhook and its secrets, or returns ErrNotFound.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		r.remove(t1, "wh_1")
		_, err := r.store.GetWebhook(r.Context(), t1, "wh_1")
		r.wantErr("GetWebhook", err, webhook.ErrNotFound)
		r.wantErr("DeleteWebhook, again", r.store.DeleteWebhook(r.Context(), t1, "wh_1"), webhook.ErrNotFound)
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		if len(p.Items) != 1 || p.Items[0].ID != "wh_2" {
			r.brokenf("listed %+v, want only wh_2", p.Items)
		}
	}},
	{"DeleteKeepsTheLog", "Its deliveries and attempts stay until pruned", func(r *run) {
		d, l := r.claimed()
		r.finish(r.failure(d, l.Token))
		want, log := r.delivery(d.ID), r.attempts(d.ID)
		r.remove(t1, "wh_1")
		r.same("delivery", want, r.delivery(d.ID))
		r.same("attempts", log, r.attempts(d.ID))
		_, err := r.store.GetEvent(r.Context(), t1, "e1")
		r.must("GetEvent", err)
	}},
}

var updateChecks = []check{
	{"ReplacesEverySetting", saysUpdate, func(r *run) {
		old := r.create(t1, "wh_1", nil)
		r.pass(time.Minute)
		w := webhook.WebhookRecord{
			Webhook: webhook.Webhook{
				ID: "wh_1", Tenant: t1, Name: "n2", URL: "https://example.org/2", Description: "", Events: []string{"c.d", "e.*"},
				Headers: map[string]string{"X-New": "new"}, Active: false, VerifyTLS: false, Timeout: time.Second, MaxRetries: 10, RateLimit: 0.01,
				DisabledReason: "why", DisabledAt: r.now, CreatedAt: r.now, UpdatedAt: r.now, Version: 1,
			},
			Secrets: []webhook.SecretRecord{{Value: "s2", CreatedAt: r.now}, {Value: "s1", CreatedAt: start, ExpiresAt: r.now}},
		}
		r.must("UpdateWebhook", r.store.UpdateWebhook(r.Context(), w))
		w.CreatedAt, w.Version = old.CreatedAt, 2
		r.same("webhook", w, r.get(t1, "wh_1"))
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Active, w.DisabledReason, w.DisabledAt, w.Headers = true, "", time.Time{}, nil
		})
		w.Active, w.DisabledReason, w.DisabledAt, w.Headers, w.Version = true, "", time.Time{}, nil, 3
		r.same("webhook enabled again", w, r.get(t1, "wh_1"))
	}},
	{"KeepsCreatedAt", saysIgnored, func(r *run) {
		old := r.create(t1, "wh_1", nil)
		r.pass(time.Hour)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.CreatedAt = r.now })
		r.same("CreatedAt", old.CreatedAt, r.get(t1, "wh_1").CreatedAt)
	}},
	{"OtherVersion", saysVersion, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.edit(t1, "wh_1", func(w *webhook.WebhookRecord) { w.Name = "second" })
		want := r.get(t1, "wh_1")
		for _, version := range []int64{1, 3, 0, -1} {
			w := want
			w.Name, w.Version = "lost", version
			r.wantErr("UpdateWebhook from version "+itoa(int(version)), r.store.UpdateWebhook(r.Context(), w), webhook.ErrConflict)
		}
		r.same("webhook", want, r.get(t1, "wh_1"))
	}},
	{"Missing", saysVersion, func(r *run) {
		r.wantErr("UpdateWebhook", r.store.UpdateWebhook(r.Context(), r.hook(t1, "wh_1")), webhook.ErrNotFound)
		w := r.create(t1, "wh_2", nil)
		r.remove(t1, "wh_2")
		r.wantErr("UpdateWebhook of a deleted one", r.store.UpdateWebhook(r.Context(), w), webhook.ErrNotFound)
		_, err := r.store.GetWebhook(r.Context(), t1, "wh_2")
		r.wantErr("GetWebhook", err, webhook.ErrNotFound)
	}},
	{"OneOfManyEditorsWins", saysVersion, func(r *run) {
		r.create(t1, "wh_1", nil)
		for round := range 5 {
			base := r.get(t1, "wh_1")
			var racers sync.WaitGroup
			errs := make([]error, 6)
			for i := range errs {
				w := base
				w.Name = "editor " + itoa(i)
				racers.Go(func() { errs[i] = r.store.UpdateWebhook(r.Context(), w) })
			}
			racers.Wait()
			var won []int
			for i, err := range errs {
				if err == nil {
					won = append(won, i)
				} else if !errors.Is(err, webhook.ErrConflict) {
					r.brokenf("editor %d: got error %v, want one that wraps ErrConflict", i, err)
				}
			}
			if len(won) != 1 {
				r.fatalf("round %d: %d of %d editors of one version won", round, len(won), len(errs))
			}
			got := r.get(t1, "wh_1")
			r.same("name", "editor "+itoa(won[0]), got.Name)
			r.same("version", base.Version+1, got.Version)
		}
	}},
}
