package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/post"
	"golang.org/x/sync/singleflight"
)

// Dispatcher publishes events, delivers them and manages webhooks. Make one per
// process with [New]; all methods are safe for concurrent use.
//
// Publishing and managing work at any time, whether [Dispatcher.Run] is running
// here, in another process that shares the Store, or not at all.
type Dispatcher struct {
	store *containedStore
	cfg   Config
	rules settingsRules
	send  *post.Client
	log   *slog.Logger

	wake    chan struct{} // signals that work may be due
	refresh singleflight.Group
	silence contain.Mute // for warnings that the store does not answer

	mu     sync.Mutex
	engine *engine              // while Run or DeliverDue runs
	rates  map[string]time.Time // rate limits used up by earlier runs
	types  typePruner
}

// New returns a Dispatcher over store. It starts no goroutine and does not
// touch the store. It returns an error if store is nil or a field of cfg is
// outside the range in its comment. The error names the field, the value and
// the limit; it has no sentinel to test for.
func New(store Store, cfg Config) (*Dispatcher, error) {
	if store == nil {
		return nil, errors.New("webhook: new: store is nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, prefixed("new", err)
	}
	if _, able := store.(EraseStore); len(cfg.RetentionByType) > 0 && !able {
		return nil, prefixed("new", fmt.Errorf("config: RetentionByType needs a Store that is an EraseStore, which %T is not", store))
	}
	send := post.New(post.Config{Client: cfg.Client, Guard: &cfg.Guard, Proxy: cfg.Proxy, MaxFlying: cfg.MaxInFlight})
	return &Dispatcher{
		store: &containedStore{store, cfg.Logger},
		cfg:   cfg,
		rules: settingsRules{
			url:           guard.URLPolicy{AllowHTTP: cfg.AllowHTTP, Guard: &cfg.Guard},
			canSkipVerify: !cfg.ForbidUnverifiedTLS && send.CanSkipVerify(),
			keys:          cfg.Keys,
		},
		send: send,
		log:  cfg.Logger,
		wake: make(chan struct{}, 1),
	}, nil
}

// Wake tells the running dispatcher of this process that deliveries may be due.
// Call it after committing a transaction in which events were published, to
// avoid the wait for the next poll. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Dispatcher) now() time.Time { return storedTime(d.cfg.Now()) }

// Stats is a snapshot of a dispatcher of this process.
type Stats struct {
	Running     bool // Run or DeliverDue is running; otherwise all counts are 0
	InFlight    int  // attempts in flight
	MaxInFlight int  // bound of InFlight, see Config.MaxInFlight
	Claimed     int  // deliveries held under a lease, including those in flight
	Webhooks    int  // webhooks of the claimed deliveries
	// Unreadable counts the webhooks whose deliveries were given back in the
	// last half minute, because their secrets or headers cannot be decrypted.
	Unreadable int
}

// Stats returns a snapshot of this dispatcher. It does not access the Store.
func (d *Dispatcher) Stats() Stats {
	e := d.current()
	if e == nil {
		return Stats{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	have := e.sched.Stats()
	s := Stats{Running: true, InFlight: have.InFlight, MaxInFlight: e.cfg.MaxInFlight, Claimed: have.Held, Webhooks: have.Holding}
	now := time.Now()
	for _, p := range e.endpoints {
		if now.Before(p.unreadUntil) {
			s.Unreadable++
		}
	}
	return s
}

func (d *Dispatcher) current() *engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine
}

// Run delivers until ctx ends, and blocks until then. It owns every goroutine
// it starts and returns when they have ended:
//
//  1. When ctx ends it stops claiming and gives back the deliveries that it has
//     claimed but not begun.
//  2. It lets the attempts in flight finish, for at most Config.DrainTimeout,
//     and records their results.
//  3. It aborts the remaining attempts and gives their deliveries back too. An
//     aborted attempt is not counted and is made again, here or in another
//     process.
//
// Run returns nil after an orderly end. It returns an error if results could
// not be recorded or leases could not be given back; those deliveries are
// attempted again when their leases expire. Errors of the Store do not end Run,
// which retries for as long as ctx lasts. Run returns ErrRunning if this
// Dispatcher is running already. After Run has returned it can be called again.
func (d *Dispatcher) Run(ctx context.Context) error {
	_, err := d.run(ctx, false)
	return prefixed("run", err)
}

// DeliverDue makes every attempt that is due now or becomes due meanwhile, and
// returns the number of attempts. It is for tests, cron jobs and functions that
// cannot keep a goroutine. Deliveries that a webhook's RateLimit holds up for
// more than a second are left for the next call. If ctx ends first, DeliverDue
// drains as Run does and returns ctx.Err(). If the Store keeps failing, it
// returns the Store's error. While Run is running it returns ErrRunning.
func (d *Dispatcher) DeliverDue(ctx context.Context) (attempts int, err error) {
	n, err := d.run(ctx, true)
	if err == nil {
		err = ctx.Err()
	}
	return n, prefixed("deliver due", err)
}

func (d *Dispatcher) run(ctx context.Context, once bool) (int, error) {
	d.mu.Lock()
	if d.engine != nil {
		d.mu.Unlock()
		return 0, ErrRunning
	}
	e := newEngine(d, once)
	d.engine = e
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.engine, d.rates = nil, e.stopTimers()
		d.mu.Unlock()
	}()
	err := e.run(ctx)
	return e.attempts, err
}
