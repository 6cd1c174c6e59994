package verify

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"
)

// Seen remembers which deliveries were handled, so that a second copy does not
// reach the handler. [MemorySeen] serves a single process. To deduplicate
// across processes, implement Seen over a database or cache that they share.
//
// If a delivery were marked when it arrives, it would be lost whenever the
// handler fails: the sender's next attempt would look like a duplicate. So the
// middleware claims a key before the handler runs, and ends the claim with Done
// or Forget afterwards. A process that dies in between never ends its claim: a
// store that outlives the process must let claims expire, after longer than any
// handler runs. The handler may then run twice for that delivery, as always
// with delivery at least once.
//
// Keys come from [Delivery.DedupKey] and are up to a few hundred bytes of text.
// Two handlers that share a store must not share keys. Remember a finished key
// for longer than the sender retries, such as [DefaultSeenTTL]; a manual resend
// within that time counts as a duplicate.
//
// All methods are called concurrently, also for the same key.
type Seen interface {
	// Claim atomically takes key for the caller. It returns nil when the key
	// was free and is now the caller's, ErrDuplicate when Done was called for
	// the key before, and ErrInProgress while another caller holds it. Any
	// other error means that the store failed; the delivery is then refused and
	// sent again. ctx is the request's context.
	Claim(ctx context.Context, key string) error

	// Done ends the caller's claim and makes later claims return ErrDuplicate.
	// It is called when the handler has answered with 2xx before the request's
	// context ended. It does so too for a key without a claim, whose claim has
	// expired.
	Done(ctx context.Context, key string) error

	// Forget ends the caller's claim and makes the key free again. It is called
	// when the handler has failed or panicked, and when the request's context
	// ended first. It has no effect on a key without a claim, and never frees a
	// key that is done.
	Forget(ctx context.Context, key string) error
}

const (
	// DefaultSeenMax is how many keys a MemorySeen holds by default.
	DefaultSeenMax = 100_000

	// DefaultSeenTTL is how long a MemorySeen remembers a handled delivery by
	// default: as long as the sender's longest schedule of retries at its
	// default settings. That is a day and a half, or three days for a receiver
	// that asks for a later retry with every answer (Retry-After).
	DefaultSeenTTL = 72 * time.Hour
)

// MemorySeen is a [Seen] in the memory of one process, bounded in number and
// time. Its keys are lost when the process ends. It is safe for concurrent use,
// starts no goroutine and never blocks. The zero MemorySeen has the defaults of
// [NewMemorySeen].
type MemorySeen struct {
	max int           // zero means DefaultSeenMax
	ttl time.Duration // zero means DefaultSeenTTL

	mu   sync.Mutex
	keys map[string]*list.Element // nil while claimed, an element of done afterwards
	done list.List                // of doneKey, oldest first
}

type doneKey struct {
	key   string
	until time.Time
}

// NewMemorySeen returns a MemorySeen for at most maxKeys keys, of about 200
// bytes each, which remembers a handled key for ttl. Zero or less means
// [DefaultSeenMax] or [DefaultSeenTTL]. When it is full, it drops the key that
// was done longest ago; the next copy of that delivery is then handled again.
func NewMemorySeen(maxKeys int, ttl time.Duration) *MemorySeen {
	s := &MemorySeen{}
	if maxKeys > 0 {
		s.max = maxKeys
	}
	if ttl > 0 {
		s.ttl = ttl
	}
	return s
}

// Claim implements [Seen]. It returns ErrSeenFull when all the room is taken by
// keys that are claimed and not yet done.
func (s *MemorySeen) Claim(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	if e, ok := s.keys[key]; ok {
		if e == nil {
			return ErrInProgress
		}
		return ErrDuplicate
	}
	if !s.makeRoom() {
		return ErrSeenFull
	}
	s.keys[key] = nil
	return nil
}

// Done implements [Seen]. It returns ErrSeenFull as Claim does, but only for a
// key that is not claimed.
func (s *MemorySeen) Done(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.expire(now)
	e, ok := s.keys[key]
	if e != nil {
		return nil
	}
	if !ok && !s.makeRoom() {
		return ErrSeenFull
	}
	s.keys[key] = s.done.PushBack(doneKey{key, now.Add(cmp.Or(s.ttl, DefaultSeenTTL))})
	return nil
}

// Forget implements [Seen]. It returns no error.
func (s *MemorySeen) Forget(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] == nil { // claimed, or not there
		delete(s.keys, key)
	}
	return nil
}

// Len returns how many keys are held, claimed or done. Keys whose time is up
// count until the next Claim or Done.
func (s *MemorySeen) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

// expire drops the keys whose ttl has passed. The list is in the order of time,
// so expire looks at the keys that it drops and one more.
func (s *MemorySeen) expire(now time.Time) {
	for e := s.done.Front(); e != nil; e = s.done.Front() {
		d := e.Value.(doneKey)
		if now.Before(d.until) {
			return
		}
		s.done.Remove(e)
		delete(s.keys, d.key)
	}
}

// makeRoom makes room for another key, if need be by dropping the key that was
// done longest ago, and reports whether there is room. It never drops a claimed
// key, whose handler is running.
func (s *MemorySeen) makeRoom() bool {
	if s.keys == nil {
		s.keys = make(map[string]*list.Element)
	}
	if len(s.keys) < cmp.Or(s.max, DefaultSeenMax) {
		return true
	}
	e := s.done.Front()
	if e == nil {
		return false
	}
	delete(s.keys, s.done.Remove(e).(doneKey).key)
	return true
}
