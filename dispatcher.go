package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"golang.org/x/sync/singleflight"
)

// Dispatcher publishes events, delivers them and manages webhooks. Make one per
// process with [New]; all methods are safe for concurrent use.
//
// Publishing and managing work at any time, whether [Dispatcher.Run] runs here,
// in another process that shares the Store, or not at all.
type Dispatcher struct {
	store Store
	cfg   Config
	rules settingsRules
	send  *sender
	log   *slog.Logger

	wake    chan struct{} // there may be work that is due now
	refresh singleflight.Group
	silence contain.Mute // of warnings that the store does not answer

	mu     sync.Mutex
	engine *engine              // while Run or DeliverDue runs
	paces  map[string]time.Time // what runs that have ended used of rate limits
	types  typePruner
}

// New returns a Dispatcher over store. It starts no goroutine and does not
// touch the store. It returns an error, which a program cannot do anything about
// and wraps nothing, when store is nil or a field of cfg is not what its comment
// allows: it names the field, the value and the limit.
func New(store Store, cfg Config) (*Dispatcher, error) {
	if store == nil {
		return nil, errors.New("webhook: new: store is nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, prefixed("new", err)
	}
	if _, able := store.(EraseStore); len(cfg.RetentionByType) > 0 && !able {
		return nil, prefixed("new", fmt.Errorf("config: RetentionByType needs a store that is an EraseStore, and a %T is none", store))
	}
	send := newSender(&cfg)
	return &Dispatcher{
		store: &containedStore{store, cfg.Logger},
		cfg:   cfg,
		rules: settingsRules{
			url:           urlPolicy{allowHTTP: cfg.AllowHTTP, guard: &cfg.Guard},
			canSkipVerify: !cfg.ForbidUnverifiedTLS && send.canSkipVerify(),
			keys:          cfg.Keys,
		},
		send: send,
		log:  cfg.Logger,
		wake: make(chan struct{}, 1),
	}, nil
}

// Wake tells a running dispatcher of this process that there may be work: call
// it after committing a transaction in which events were published, to save
// the wait for the next poll. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// now is the time for what is stored and sent.
func (d *Dispatcher) now() time.Time { return d.cfg.Now().UTC().Truncate(time.Microsecond) }

// Stats is a moment's view of a dispatcher of this process.
type Stats struct {
	Running     bool // Run or DeliverDue is running; all else is 0 without
	InFlight    int  // attempts being made
	MaxInFlight int  // how many of them there can be, see Config.MaxInFlight
	Claimed     int  // deliveries held under a lease, those in flight included
	Webhooks    int  // webhooks that those deliveries are for
	// Unreadable counts the webhooks whose deliveries were given back in the last
	// half minute, as their secrets or headers cannot be decrypted.
	Unreadable int
}

// Stats returns what is going on right now. It does not touch the Store.
func (d *Dispatcher) Stats() Stats {
	e := d.current()
	if e == nil {
		return Stats{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Stats{Running: true, InFlight: e.flying.all, MaxInFlight: e.cfg.MaxInFlight, Claimed: e.held}
	now := time.Now()
	for _, l := range e.lanes {
		if l.held > 0 {
			s.Webhooks++
		}
		if now.Before(l.unreadUntil) {
			s.Unreadable++
		}
	}
	return s
}

// current returns the running engine, or nil.
func (d *Dispatcher) current() *engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine
}

// Run delivers until ctx ends, and blocks until then. It owns every goroutine
// it starts and returns when they have ended:
//
//  1. When ctx ends it claims nothing more and gives back what it has claimed
//     but not begun.
//  2. It lets the attempts in flight finish, for at most Config.DrainTimeout,
//     and records their results.
//  3. It aborts what is left and gives that back too: an aborted attempt is
//     not counted and will be made again, here or elsewhere.
//
// It returns nil after an orderly end, and an error when results could not be
// recorded or leases not given back: those deliveries are attempted again when
// their leases expire. A Store that fails does not end Run: it retries for as
// long as ctx lasts. ErrRunning is returned when this Dispatcher runs already;
// after Run has returned it can be called again.
func (d *Dispatcher) Run(ctx context.Context) error {
	_, err := d.run(ctx, false)
	return prefixed("run", err)
}

// DeliverDue delivers everything that is due now, with what becomes due
// meanwhile, and returns how many attempts it made: for tests, cron jobs and
// functions that cannot keep a goroutine. What a webhook's RateLimit does not let
// begin within a second is left for the next call. When ctx ends first it drains as Run
// does and returns ctx.Err(). A Store that goes on failing ends it too, with the
// Store's error. ErrRunning is returned while Run is running.
func (d *Dispatcher) DeliverDue(ctx context.Context) (attempts int, err error) {
	n, err := d.run(ctx, true)
	if err == nil {
		err = ctx.Err()
	}
	return n, prefixed("deliver due", err)
}

func (d *Dispatcher) run(ctx context.Context, once bool) (int, error) {
	e := newEngine(d, once)
	d.mu.Lock()
	if d.engine != nil {
		d.mu.Unlock()
		return 0, ErrRunning
	}
	d.engine, e.paces = e, d.paces
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.engine, d.paces = nil, e.keepPaces()
		d.mu.Unlock()
	}()
	err := e.run(ctx)
	return e.attempts, err
}
