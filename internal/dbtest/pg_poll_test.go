package dbtest

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// statements counts the statements that a pool sends.
type statements struct{ n, begun atomic.Int64 }

func (c *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	if len(q.SQL) >= 5 && q.SQL[:5] == "begin" {
		c.begun.Add(1)
	}
	return ctx
}

func (c *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// poller runs a dispatcher with its defaults on a pool whose statements are
// counted. It also returns another dispatcher, which does not run, on the same
// tables and its own pool: only the database connects the two.
func poller(t *testing.T) (d, other *webhook.Dispatcher, store *pgstore.Store, db *sql.DB, sent *statements) {
	t.Helper()
	db = pgOpen(t, "pgx", "")
	schema := pgSchema(t, db)
	store = pgStore(t, db, pgstore.Config{Schema: schema})
	cfg, err := pgx.ParseConfig(postgres(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	sent = &statements{}
	cfg.Tracer = sent
	counted := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { counted.Close() })
	config := webhooktest.AllowLoopback(webhook.Config{})
	if d, err = webhook.New(pgStore(t, counted, pgstore.Config{Schema: schema}), config); err != nil {
		t.Fatal(err)
	}
	if other, err = webhook.New(store, config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return d, other, store, db, sent
}

func after(t testing.TB, d time.Duration) {
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}

// The dispatcher gets no wake-up: another process publishes, or the host commits a
// transaction of its own.
func TestD15_FoundByPollingAlone(t *testing.T) {
	d, other, store, db, _ := poller(t)
	arrived := make(chan time.Time, 10)
	rx := webhooktest.NewReceiver()
	rx.AnswerFunc(func(webhooktest.Request) webhooktest.Answer {
		arrived <- time.Now()
		return webhooktest.Answer{Status: http.StatusNoContent}
	})
	_, secret, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{Name: "n", URL: rx.Serve(t).URL, Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	rx.Trust(secret)
	var took []time.Duration
	for i := range 30 {
		after(t, rand.N(200*time.Millisecond)) // at any moment between two polls
		ev := webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{"i": i}}
		if i%2 == 0 {
			if _, err := other.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		} else {
			req, err := other.Prepare(ev)
			if err != nil {
				t.Fatal(err)
			}
			inTx(t, db, true, func(tx *sql.Tx) error {
				_, err := store.PublishTx(t.Context(), tx, req)
				return err
			})
		}
		committed := time.Now()
		select {
		case at := <-arrived:
			took = append(took, at.Sub(committed))
		case <-time.After(5 * time.Second):
			t.Fatalf("event %d has not arrived 5 s after its commit", i)
		}
	}
	slices.Sort(took)
	median, most := took[len(took)/2], took[len(took)-1]
	t.Logf("from commit to receipt: median %v, most %v", median.Round(time.Millisecond), most.Round(time.Millisecond))
	if median > 250*time.Millisecond {
		t.Errorf("from commit to receipt: median %v, want 250ms at most", median)
	}
}

// The number of statements of an idle dispatcher.
func TestD15_IdlePollingIsCheap(t *testing.T) {
	_, _, _, db, sent := poller(t)
	after(t, time.Second) // the work that a dispatcher does once, when it starts
	committed := func() (n int64) {
		if err := db.QueryRow(`SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	began, n, tx, commits := time.Now(), sent.n.Load(), sent.begun.Load(), committed()
	after(t, 5*time.Second)
	seconds := time.Since(began).Seconds()
	perSecond := float64(sent.n.Load()-n) / seconds
	transactions := float64(sent.begun.Load()-tx) / seconds
	t.Logf("idle: %.1f statements in %.1f transactions per second; the server counts %.1f commits per second",
		perSecond, transactions, float64(committed()-commits)/seconds)
	if sent.n.Load() == n {
		t.Error("no statement was counted")
	}
	if perSecond > 50 || transactions > 8 {
		t.Errorf("an idle dispatcher sends %.1f statements in %.1f transactions per second, want 50 in 8 at most", perSecond, transactions)
	}
}
