// Package memstore keeps webhooks, events and deliveries in memory: a
// [webhook.Store] for tests and for processes that can afford to lose unsent
// events. It is the reference implementation of the contract, beside the
// durable packages sqlitestore and pgstore.
//
//	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{})
package memstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// Defaults and limits of [Config].
const (
	DefaultMaxPending = 1_000_000 // deliveries
	DefaultMaxBytes   = 1 << 30   // bytes
	DefaultRetain     = 10_000    // finished deliveries

	statsHours  = 31 * 24 // hours of statistics kept per webhook
	keptOrphans = 1000    // deleted webhooks whose statistics are kept, at least
)

// Config bounds the memory of a [Store]. The zero value works.
type Config struct {
	// MaxPending is the number of deliveries that may wait or be under way at a
	// time. A Publish that would exceed it does not store any event and returns an
	// error wrapping [webhook.ErrBacklogFull]. A delivery costs about a third of a
	// KiB beside the data of its event, so the default of 1,000,000 (also for 0 or
	// less) is 350 MiB at worst, and several hours of a receiver's outage at 50
	// events a second.
	MaxPending int

	// MaxBytes bounds the bytes of event data and of receivers' answers. To
	// make room the store forgets the oldest finished deliveries, and events
	// without deliveries, before their time. If the pending deliveries alone would
	// exceed it, Publish returns an error wrapping [webhook.ErrBacklogFull]. Answers to
	// attempts of pending deliveries are kept even past it, so that every
	// attempt is recorded. 0 or less means 1 GiB.
	MaxBytes int64

	// Retain is the number of finished deliveries that stay in the log, with their
	// attempts and their events. Beyond it the delivery that finished first is
	// forgotten. As many events that matched no webhook are kept for replay. A
	// forgotten delivery cannot be resent, and an event whose deliveries are all
	// forgotten is no longer recognised when it is published again. 0 means
	// 10,000; below 0 deliveries are forgotten as soon as they have finished.
	Retain int
}

// Store is a [webhook.Store] in memory. Create one with [New].
//
// It is not durable. Publish returns when the event is in memory, and a
// process that ends, however it ends, loses every webhook, event and delivery.
// Use sqlitestore or pgstore where events must survive.
//
// It is bounded by [Config]: a full store refuses events and never drops a
// pending delivery. Hourly statistics go back 31 days. Deliveries of one
// event are made, and so become due, in the order in which their webhooks were
// created. If a claim stayed below its Limit, its NextDue is exact for every
// webhook without further due deliveries, unless the claim passed over its tenant.
//
// All methods are safe for concurrent use, and wait only for other calls. A Store starts no goroutine and needs no closing.
type Store struct {
	cfg    Config
	prefix string // of delivery IDs: random, so that no two stores make the same
	seed   maphash.Seed

	mu       sync.Mutex
	tenants  map[string]*tenant
	webhooks map[string]*hook // existing webhooks, by ID
	byNum    map[uint64]*delivery
	claims   map[int64]*claim // claims that hold a lease, by token

	// ready holds the tenants whose webhooks had due deliveries when last looked
	// at, in the order in which claims serve them, and each tenant has its webhooks
	// in order. A tenant that had no due delivery before is in fresh instead. Every
	// other turn goes to fresh, so that a new tenant does not wait for all tenants
	// with a backlog. timers holds the webhooks that will have due deliveries. A
	// webhook's time in timers is never later than its first delivery's, but may be
	// earlier: it is corrected when it comes to the front.
	ready, fresh timeline[tenant]
	timers       timeline[hook]

	finished timeline[delivery] // by the time they finished
	idle     timeline[event]    // events without deliveries
	orphans  timeline[hook]     // deleted webhooks that have only statistics left

	lastNum      uint64 // numbers deliveries
	lastEvent    uint64 // numbers events
	lastTurn     uint64 // numbers arrivals in timelines
	lastOrder    uint64 // numbers webhooks
	pending      int    // deliveries
	bytes        int64  // of event data and answers
	pendingBytes int64  // the part of bytes that belongs to pending deliveries
	visits       int    // nodes looked at by Claim, for the tests of its cost
	looked       int    // deliveries looked at by ListDeliveries, for the same

	hooksScratch   []*hook
	tenantsScratch []*tenant
	odd            bool // the next turn is a fresh tenant's, if there is one
	claimedScratch []*delivery
	idScratch      []byte
}

var (
	_ webhook.Store         = (*Store)(nil)
	_ webhook.WebhookWalker = (*Store)(nil)
	_ webhook.EraseStore    = (*Store)(nil)
)

// tenant holds the webhooks and events of one tenant.
type tenant struct {
	node[tenant]                   // in the store's ready, or fresh, while it has any
	line         *timeline[tenant] // which of the two
	served       bool              // by a claim, since it last had no due delivery
	name         string
	ready        timeline[hook]   // webhooks with due deliveries, the next to be served first
	webhooks     map[string]*hook // also deleted webhooks that have deliveries or statistics
	order        []*hook          // existing webhooks, by creation time and ID
	selects      map[string][]*hook
	events       map[string]*event

	eventLog    sequence[*event]
	deliveryLog sequence[*delivery]
}

// New returns an empty store with the bounds of cfg.
func New(cfg Config) *Store {
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = DefaultMaxPending
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Retain == 0 {
		cfg.Retain = DefaultRetain
	}
	cfg.Retain = max(cfg.Retain, 0)
	return &Store{
		cfg:      cfg,
		prefix:   "dl_" + rand.Text()[:13],
		seed:     maphash.MakeSeed(),
		tenants:  make(map[string]*tenant),
		webhooks: make(map[string]*hook),
		byNum:    make(map[uint64]*delivery),
		claims:   make(map[int64]*claim),
	}
}

// lock takes the mutex unless ctx is done.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory store: %w", err)
	}
	s.mu.Lock()
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("memory store: %w", err)
	}
	return nil
}

// tenant returns the tenant of that name, made if need be.
func (s *Store) tenant(name string) *tenant {
	t := s.tenants[name]
	if t == nil {
		t = &tenant{
			name:     name,
			webhooks: make(map[string]*hook),
			selects:  make(map[string][]*hook),
			events:   make(map[string]*event),
		}
		t.owner = t
		s.tenants[name] = t
	}
	return t
}

// dropTenant forgets a tenant without webhooks and events.
func (s *Store) dropTenant(t *tenant) {
	if len(t.webhooks) == 0 && len(t.events) == 0 && s.tenants[t.name] == t {
		delete(s.tenants, t.name)
	}
}

// hook returns a webhook that exists.
func (s *Store) hook(tenant, id string) (*hook, error) {
	h := s.webhooks[id]
	if h == nil || h.tenant.name != tenant {
		return nil, fmt.Errorf("webhook %q: %w", id, webhook.ErrNotFound)
	}
	return h, nil
}

func (s *Store) turn() uint64 {
	s.lastTurn++
	return s.lastTurn
}

// zeroMicros is the zero time in microseconds; timeOf turns it back into a time
// whose IsZero is true.
var zeroMicros = time.Time{}.UnixMicro()

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// cutTime cuts a time to microseconds, which the contract keeps.
func cutTime(t time.Time) time.Time { return timeOf(t.UnixMicro()) }

// cloneWebhook copies all that w refers to.
func cloneWebhook(w webhook.Webhook) webhook.Webhook {
	w.Events = slices.Clone(w.Events)
	w.Headers = maps.Clone(w.Headers)
	return w
}

// cloneRecord copies a record for keeping, with times as they are kept.
func cloneRecord(r webhook.WebhookRecord) *webhook.WebhookRecord {
	r.Webhook = cloneWebhook(r.Webhook)
	r.DisabledAt, r.CreatedAt, r.UpdatedAt = cutTime(r.DisabledAt), cutTime(r.CreatedAt), cutTime(r.UpdatedAt)
	r.Secrets = slices.Clone(r.Secrets)
	for i := range r.Secrets {
		r.Secrets[i].CreatedAt = cutTime(r.Secrets[i].CreatedAt)
		r.Secrets[i].ExpiresAt = cutTime(r.Secrets[i].ExpiresAt)
	}
	return &r
}
