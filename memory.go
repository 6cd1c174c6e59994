package webhook

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"
)

// Defaults and limits of [MemoryConfig].
const (
	DefaultMemoryMaxPending = 1_000_000 // deliveries
	DefaultMemoryMaxBytes   = 1 << 30   // bytes
	DefaultMemoryRetain     = 10_000    // finished deliveries

	memStatsHours = 31 * 24 // hours of statistics kept per webhook
	memOrphans    = 1000    // deleted webhooks whose statistics are kept, at least
)

// MemoryConfig bounds what a [MemoryStore] keeps. The zero value works.
type MemoryConfig struct {
	// MaxPending is how many deliveries may wait or be under way at a time. A
	// Publish that would pass it stores nothing and returns an error wrapping
	// [ErrBacklogFull]. A delivery costs about a third of a KiB beside the data
	// of its event, so the default of 1,000,000 (also for 0 or less) is 350 MiB
	// at worst, and several hours of a receiver's outage at 50 events a second.
	MaxPending int

	// MaxBytes bounds the bytes of event data and of receivers' answers. To
	// make room the store forgets the oldest finished deliveries, and events
	// that have none, before their time; when the pending ones alone would pass
	// it, Publish returns an error wrapping [ErrBacklogFull]. Answers to
	// attempts of pending deliveries are kept even past it, so that every
	// attempt is recorded. 0 or less means 1 GiB.
	MaxBytes int64

	// Retain is how many finished deliveries stay in the log, with their
	// attempts and their event; beyond it the one that finished first is
	// forgotten. As many events that matched no webhook are kept for replay.
	// What is forgotten cannot be resent, and an event whose deliveries are all
	// forgotten is no longer recognised when it is published again. 0 means
	// 10,000; below 0 nothing is kept once it is finished.
	Retain int
}

// MemoryStore is a [Store] in memory: the reference implementation, for tests
// and for processes that can afford to lose what they have not sent.
//
// It is not durable. Publish returns when the event is in memory, and a
// process that ends, however it ends, loses every webhook, event and delivery.
// Use sqlitestore or pgstore where events must survive.
//
// It is bounded by [MemoryConfig]: a full store refuses events, it never drops
// a pending delivery. Hourly statistics go back 31 days. Deliveries of one
// event are made, and so become due, in the order in which their webhooks were
// created. The NextDue of a claim that stayed below its Limit is exact for every
// webhook of which it left nothing due, unless it passed over its tenant.
//
// All methods are safe for concurrent use, and none blocks for longer than
// other calls take. A MemoryStore starts no goroutine and needs no closing.
type MemoryStore struct {
	cfg    MemoryConfig
	prefix string // of delivery IDs: random, so that no two stores make the same
	seed   maphash.Seed

	mu       sync.Mutex
	tenants  map[string]*memTenant
	webhooks map[string]*memHook // those that exist, by ID
	byNum    map[uint64]*memDelivery
	claims   map[int64]*memClaim // claims that hold a lease, by token

	// ready holds the tenants with webhooks that had something due when last looked
	// at, in the order in which claims serve them, and each of these has its
	// webhooks in order. Those that had nothing before are in fresh, and have every
	// other turn, so that they do not wait for all those that have had for a while.
	// timers holds the webhooks that will have something due. A webhook's time
	// in timers is never later than its first delivery's, but may be earlier: it is
	// put right when it comes to the front.
	ready, fresh memTimeline[memTenant]
	timers       memTimeline[memHook]

	finished memTimeline[memDelivery] // by the time they finished
	idle     memTimeline[memEvent]    // events without deliveries
	orphans  memTimeline[memHook]     // deleted webhooks of which only statistics are left

	lastNum      uint64 // numbers deliveries
	lastEvent    uint64 // numbers events
	lastTurn     uint64 // numbers arrivals in timelines
	lastOrder    uint64 // numbers webhooks
	pending      int    // deliveries
	bytes        int64  // of event data and answers
	pendingBytes int64  // the part of bytes that belongs to pending deliveries
	visits       int    // nodes looked at by Claim, for the tests of its cost
	looked       int    // deliveries looked at by ListDeliveries, for the same

	hooksScratch   []*memHook
	tenantsScratch []*memTenant
	odd            bool // the next turn is a fresh tenant's, if there is one
	claimedScratch []*memDelivery
	idScratch      []byte
}

var (
	_ Store         = (*MemoryStore)(nil)
	_ WebhookWalker = (*MemoryStore)(nil)
	_ EraseStore    = (*MemoryStore)(nil)
)

// memTenant is what one tenant has.
type memTenant struct {
	memNode[memTenant]                         // in the store's ready, or fresh, while it has any
	line               *memTimeline[memTenant] // which of the two
	served             bool                    // by a claim, since it had none
	name               string
	ready              memTimeline[memHook] // webhooks with something due, the next to be served first
	webhooks           map[string]*memHook  // also deleted ones that have deliveries or statistics
	order              []*memHook           // those that exist, by creation time and ID
	selects            map[string][]*memHook
	events             map[string]*memEvent

	eventLog    memSequence[*memEvent]
	deliveryLog memSequence[*memDelivery]
}

// NewMemoryStore returns an empty store with the bounds of cfg.
func NewMemoryStore(cfg MemoryConfig) *MemoryStore {
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = DefaultMemoryMaxPending
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMemoryMaxBytes
	}
	if cfg.Retain == 0 {
		cfg.Retain = DefaultMemoryRetain
	}
	cfg.Retain = max(cfg.Retain, 0)
	return &MemoryStore{
		cfg:      cfg,
		prefix:   "dl_" + rand.Text()[:13],
		seed:     maphash.MakeSeed(),
		tenants:  make(map[string]*memTenant),
		webhooks: make(map[string]*memHook),
		byNum:    make(map[uint64]*memDelivery),
		claims:   make(map[int64]*memClaim),
	}
}

// lock takes the mutex unless ctx is done.
func (s *MemoryStore) lock(ctx context.Context) error {
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
func (s *MemoryStore) tenant(name string) *memTenant {
	t := s.tenants[name]
	if t == nil {
		t = &memTenant{
			name:     name,
			webhooks: make(map[string]*memHook),
			selects:  make(map[string][]*memHook),
			events:   make(map[string]*memEvent),
		}
		t.owner = t
		s.tenants[name] = t
	}
	return t
}

// dropTenant forgets a tenant that has nothing.
func (s *MemoryStore) dropTenant(t *memTenant) {
	if len(t.webhooks) == 0 && len(t.events) == 0 && s.tenants[t.name] == t {
		delete(s.tenants, t.name)
	}
}

// hook returns a webhook that exists.
func (s *MemoryStore) hook(tenant, id string) (*memHook, error) {
	h := s.webhooks[id]
	if h == nil || h.tenant.name != tenant {
		return nil, fmt.Errorf("webhook %q: %w", id, ErrNotFound)
	}
	return h, nil
}

func (s *MemoryStore) turn() uint64 {
	s.lastTurn++
	return s.lastTurn
}

// memZero is the zero time in microseconds; memTime turns it back into a time
// whose IsZero is true.
var memZero = time.Time{}.UnixMicro()

func memTime(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// memMicros cuts a time to what the contract keeps.
func memMicros(t time.Time) time.Time { return memTime(t.UnixMicro()) }

// memCloneWebhook copies all that w refers to.
func memCloneWebhook(w Webhook) Webhook {
	w.Events = slices.Clone(w.Events)
	w.Headers = maps.Clone(w.Headers)
	return w
}

// memCloneRecord copies a record for keeping, with times as they are kept.
func memCloneRecord(r WebhookRecord) *WebhookRecord {
	r.Webhook = memCloneWebhook(r.Webhook)
	r.DisabledAt, r.CreatedAt, r.UpdatedAt = memMicros(r.DisabledAt), memMicros(r.CreatedAt), memMicros(r.UpdatedAt)
	r.Secrets = slices.Clone(r.Secrets)
	for i := range r.Secrets {
		r.Secrets[i].CreatedAt = memMicros(r.Secrets[i].CreatedAt)
		r.Secrets[i].ExpiresAt = memMicros(r.Secrets[i].ExpiresAt)
	}
	return &r
}
