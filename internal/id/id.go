// Package id makes the IDs of events, webhooks and claims.
package id

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"sync"
	"time"
)

// encoding is lower-case and in ASCII order, so that encoded IDs sort as
// their bytes do.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// source makes IDs of 48 bits of milliseconds and 80 bits that are random for
// the first ID of a millisecond and count up within it, so that IDs of one
// process sort in the order in which they were made.
var source struct {
	sync.Mutex
	last [16]byte
}

// New returns prefix and 26 characters. IDs of one process sort in the order in which
// they were made. It is safe for concurrent use.
func New(prefix string, now time.Time) string {
	ms := max(now.UnixMilli(), 0)
	s := &source
	s.Lock()
	if last := int64(binary.BigEndian.Uint64(s.last[:8]) >> 16); ms > last {
		// crypto/rand never fails: it ends the program when there is no randomness.
		rand.Read(s.last[:])
		s.last[6] &= 0x7f // room to count up
		s.last[0], s.last[1], s.last[2] = byte(ms>>40), byte(ms>>32), byte(ms>>24)
		s.last[3], s.last[4], s.last[5] = byte(ms>>16), byte(ms>>8), byte(ms)
	} else {
		for i := 15; i >= 0; i-- {
			if s.last[i]++; s.last[i] != 0 {
				break
			}
		}
	}
	id := s.last
	s.Unlock()
	buf := make([]byte, 0, 32)
	buf = append(buf, prefix...)
	return string(encoding.AppendEncode(buf, id[:]))
}

// FromKey derives an event ID from an idempotency key. Keys of different
// tenants give different IDs.
func FromKey(tenant, key string) string {
	h := sha256.Sum256([]byte(strconv.Itoa(len(tenant)) + ":" + tenant + key))
	return "key_" + encoding.EncodeToString(h[:20])
}

// NewToken returns a random token of a claim, above 0.
func NewToken() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>1) | 1
}
