package dbtest

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

// contention has the rows that the workers of TestD19_OneOrderOfLocks contend for.
type contention struct {
	t      *testing.T
	stores []*pgstore.Store
	dbs    []*sql.DB

	mu     sync.Mutex
	leases []webhook.Lease // recent leases of all workers
	ids    []string        // of deliveries seen recently
	done   map[string]int  // calls by name
}

const (
	lockHooks  = 8
	lockLeases = 200
)

// pgLocks returns a database of its own on a server that checks for deadlocks at
// once.
func pgLocks(t *testing.T) *contention {
	t.Helper()
	admin := pgOpen(t, "pgx", "")
	if _, err := admin.Exec(`CREATE DATABASE locks`); err != nil {
		t.Fatal(err)
	}
	c := &contention{t: t, done: map[string]int{}}
	t.Cleanup(func() {
		for _, db := range c.dbs {
			db.Close()
		}
		if _, err := admin.Exec(`DROP DATABASE locks WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	for range 3 { // processes
		db, err := sql.Open("pgx", postgres(t).DSN()+" dbname=locks options='-c deadlock_timeout=20ms'")
		if err != nil {
			t.Fatal(err)
		}
		c.dbs = append(c.dbs, db)
		c.stores = append(c.stores, pgStore(t, db, pgstore.Config{Schema: "locks"}))
	}
	for i := range lockHooks {
		pgHook(t, c.stores[0], fmt.Sprint("wh_", i), "a.b")
	}
	return c
}

// deadlocks returns how many deadlocks the server has resolved.
func (c *contention) deadlocks(t *testing.T) (n int) {
	t.Helper()
	for _, db := range c.dbs {
		db.Close() // a session's counters are visible to others when it ends, at the latest
	}
	admin := pgOpen(t, "pgx", "")
	for ended := false; !ended; { // see above
		if err := admin.QueryRow(`SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = 'locks')`).Scan(&ended); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.QueryRow(`SELECT deadlocks FROM pg_stat_database WHERE datname = 'locks'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// pick returns some leases that any worker holds or held, in any order.
func (c *contention) pick(n int) []webhook.Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.leases)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(n, len(out))]
}

func (c *contention) id() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ids) == 0 {
		return ""
	}
	return c.ids[rand.IntN(len(c.ids))]
}

func (c *contention) claim(s *pgstore.Store) error {
	token := rand.Int64N(1<<62) + 1
	// Short leases are claimed again while the first holder still works.
	lease := []time.Duration{time.Millisecond, time.Minute}[rand.IntN(2)]
	res, err := s.Claim(c.t.Context(), webhook.ClaimRequest{Token: token, Now: time.Now(), Lease: lease, Limit: 60, PerWebhook: 20})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range res.Deliveries {
		c.leases = append(c.leases, webhook.Lease{DeliveryID: d.Delivery.ID, Token: token})
		c.ids = append(c.ids, d.Delivery.ID)
	}
	c.leases = c.leases[max(0, len(c.leases)-lockLeases):]
	c.ids = c.ids[max(0, len(c.ids)-lockLeases):]
	return err
}

func (c *contention) complete(s *pgstore.Store) error {
	var results []webhook.Result
	for _, l := range c.pick(40) {
		r := webhook.Result{DeliveryID: l.DeliveryID, Token: l.Token, State: webhook.StateSucceeded,
			Attempt: &webhook.Attempt{Number: 1, Duration: time.Millisecond, Status: 200,
				StartedAt: time.Now().Add(-time.Duration(rand.IntN(4)) * time.Hour)}}
		if rand.IntN(2) == 0 {
			r.State, r.Attempt.Status = webhook.StatePending, 500
		}
		results = append(results, r)
	}
	_, err := s.Complete(c.t.Context(), time.Now(), results)
	return err
}

// requests returns events of which other workers publish some too, in another
// order.
func (c *contention) requests(n int) []webhook.PublishRequest {
	const width = 40
	window := int(time.Now().UnixMilli()/100) * width
	var reqs []webhook.PublishRequest
	for _, i := range rand.Perm(width)[:n] {
		reqs = append(reqs, pgEvent(fmt.Sprint("ev-", window+i)))
	}
	return reqs
}

func (c *contention) publish(s *pgstore.Store) error {
	if rand.IntN(4) > 0 {
		_, err := s.Publish(c.t.Context(), time.Now(), c.requests(20))
		return err
	}
	var calls sync.WaitGroup // joined with the calls of others
	errs := make([]error, 20)
	for i, r := range c.requests(20) {
		calls.Go(func() { _, errs[i] = s.Publish(c.t.Context(), time.Now(), []webhook.PublishRequest{r}) })
	}
	calls.Wait()
	return errors.Join(errs...)
}

func (c *contention) manage(s *pgstore.Store) error {
	id := fmt.Sprint("wh_", rand.IntN(lockHooks))
	w, err := s.GetWebhook(c.t.Context(), tenant, id)
	switch {
	case errors.Is(err, webhook.ErrNotFound):
		err = s.CreateWebhook(c.t.Context(), webhook.WebhookRecord{Webhook: webhook.Webhook{ID: id, Tenant: tenant, Name: id,
			URL: "https://example.com/", Events: []string{"a.b", "*"}, Active: true, Version: 1}}, 0)
	case err == nil && rand.IntN(10) == 0:
		err = s.DeleteWebhook(c.t.Context(), tenant, id)
	case err == nil:
		w.Active = rand.IntN(3) > 0
		err = s.UpdateWebhook(c.t.Context(), w)
	}
	return err
}

// calls returns all calls that write.
func (c *contention) calls() map[string]func(s *pgstore.Store) error {
	ctx := c.t.Context()
	return map[string]func(s *pgstore.Store) error{
		"publish": c.publish, "claim": c.claim, "complete": c.complete, "manage": c.manage,
		"claim again": c.claim, "complete again": c.complete, "publish again": c.publish,
		"extend": func(s *pgstore.Store) error {
			_, err := s.Extend(ctx, time.Now(), c.pick(60), time.Minute)
			return err
		},
		"release": func(s *pgstore.Store) error { return s.Release(ctx, time.Now(), c.pick(20), 0) },
		"release all": func(s *pgstore.Store) error {
			var all []webhook.Lease
			for _, l := range c.pick(3) {
				all = append(all, webhook.Lease{Token: l.Token})
			}
			return s.Release(ctx, time.Now(), append(all, c.pick(10)...), 0)
		},
		"resend": func(s *pgstore.Store) error { _, err := s.Resend(ctx, time.Now(), tenant, c.id()); return err },
		"replay": func(s *pgstore.Store) error {
			_, err := s.Replay(ctx, webhook.ReplayRequest{Tenant: tenant, WebhookID: fmt.Sprint("wh_", rand.IntN(lockHooks)), Now: time.Now(),
				Limit: 50, Missing: true, States: []webhook.State{webhook.StateSucceeded, webhook.StateFailed}})
			return err
		},
		"prune": func(s *pgstore.Store) error {
			_, err := s.Prune(ctx, time.Now().Add(-time.Duration(rand.IntN(500))*time.Millisecond), 100)
			return err
		},
		"erase": func(s *pgstore.Store) error {
			if rand.IntN(4) == 0 {
				_, err := s.EraseTenant(ctx, tenant, 20)
				return err
			}
			_, err := s.EraseEvent(ctx, tenant, c.requests(1)[0].Event.ID, 20)
			return err
		},
		"publish in a transaction": func(s *pgstore.Store) error {
			tx, err := c.dbs[slices.Index(c.stores, s)].BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := s.PublishTx(ctx, tx, c.requests(10)...); err != nil {
				return err
			}
			return tx.Commit()
		},
	}
}

// All writing calls take their locks in one order. So the server never has to
// resolve a deadlock, whatever calls run at the same time in several processes
// about the same deliveries, events and webhooks. A deadlock counts even if the
// call is repeated and succeeds: it has cost deadlock_timeout, a second, and the
// work of a transaction.
func TestD19_OneOrderOfLocks(t *testing.T) {
	c := pgLocks(t)
	rounds := 150
	if testing.Short() {
		rounds = 60
	}
	calls := c.calls()
	names := make([]string, 0, len(calls))
	for name := range calls {
		names = append(names, name)
	}
	var workers sync.WaitGroup
	for i := range 4 * len(c.stores) {
		workers.Go(func() {
			s := c.stores[i%len(c.stores)]
			for range rounds {
				name := names[rand.IntN(len(names))]
				err := calls[name](s)
				switch {
				case errors.Is(err, webhook.ErrNotFound), errors.Is(err, webhook.ErrConflict), errors.Is(err, webhook.ErrExists):
				case errors.Is(err, webhook.ErrEventConflict):
				case err != nil:
					t.Errorf("%s: %v", name, err)
				}
				c.mu.Lock()
				c.done[name]++
				c.mu.Unlock()
			}
		})
	}
	workers.Wait()
	if n := c.deadlocks(t); n > 0 {
		log, err := os.ReadFile(postgres(t).log())
		_, detail, _ := strings.Cut(string(log), "deadlock detected")
		t.Errorf("%d deadlocks in %v (%v); the first: %.6000s", n, c.done, err, detail)
	} else {
		t.Log("no deadlock in", c.done)
	}
}
