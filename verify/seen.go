package verify

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"
)

// Seen remembers which deliveries were handled, so that the second copy of one
// does not reach the handler. [MemorySeen] is one for a single process. Write
// one over a database or cache that your processes share to deduplicate among
// them.
//
// Marking a delivery when it arrives would lose it whenever the handler fails:
// the sender's next attempt would look like a duplicate. So a key is claimed
// before the handler runs, and Done or Forget ends the claim after it. A
// process that dies in between never ends its claim: a store that outlives the
// process must let claims expire, after longer than any handler runs. What was
// then done twice is for the handler to bear, as with any delivery at least
// once.
//
// Keys are those of [Delivery.DedupKey], up to a few hundred bytes of text.
// Two handlers that share a store must not share keys. Remember a finished key
// for longer than the sender retries, such as [DefaultSeenTTL]; a
// resend by hand within that time counts as a duplicate.
//
// All methods are called concurrently, for the same key too.
type Seen interface {
	// Claim atomically takes key for the caller. It returns nil when the key
	// was free and is now the caller's, ErrDuplicate when Done was called for
	// it before, and ErrInProgress while another caller has it. Any other error
	// says that the store failed; the delivery is then refused and sent again.
	// ctx is the request's.
	Claim(ctx context.Context, key string) error

	// Done ends the caller's claim and makes later claims return ErrDuplicate.
	// It is called when the handler has answered with 2xx before the request's
	// context ended. For a key that nobody has claimed (its claim has expired)
	// it does the same.
	Done(ctx context.Context, key string) error

	// Forget ends the caller's claim and makes the key free again. It is called
	// when the handler has failed or panicked, and when the request's context
	// ended first. For a key that nobody has claimed it does nothing, and it
	// never makes a key that is done free.
	Forget(ctx context.Context, key string) error
}

const (
	// DefaultSeenMax is how many keys a MemorySeen holds by default.
	DefaultSeenMax = 100_000

	// DefaultSeenTTL is how long a MemorySeen remembers a handled delivery by
	// default: no shorter than the sender's longest schedule of retries, which is
	// a day and a half, or three days for a receiver that asks for time with every
	// answer (Retry-After), unless the sender's host has set another.
	DefaultSeenTTL = 72 * time.Hour
)

// MemorySeen is a [Seen] in the memory of one process, bounded in number and
// time. What it knows is gone after a restart. It is safe for concurrent use,
// starts no goroutine and never blocks. The zero MemorySeen is one with the
// defaults of [NewMemorySeen].
type MemorySeen struct {
	max int           // zero means DefaultSeenMax
	ttl time.Duration // zero means DefaultSeenTTL

	mu   sync.Mutex
	keys map[string]*list.Element // nil while claimed, an element of done after
	done list.List                // of doneKey, oldest first
}

type doneKey struct {
	key   string
	until time.Time
}

// NewMemorySeen returns a MemorySeen for at most maxKeys keys, of about 200 bytes
// each, which remembers a handled one for ttl. Zero or less means
// [DefaultSeenMax] and [DefaultSeenTTL]. When it is full, the key that was
// done longest ago makes room, and its next copy is handled again.
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

// Claim implements [Seen]. It returns ErrSeenFull when as many keys as there
// is room for are claimed and not yet done.
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

// Done implements [Seen]. It returns ErrSeenFull where Claim would, and only
// for a key that was not claimed.
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

// expire drops what was done too long ago. The list is in the order of time,
// so it looks at no more than it drops, and one.
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

// makeRoom sees to it that one more key fits, if need be by dropping the one
// that was done longest ago. Claimed keys are never dropped: their handlers are
// running. It reports whether there is room.
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
