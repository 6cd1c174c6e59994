package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook/internal/eventtype"
)

// idEncoding is lower-case and in ASCII order, so that encoded IDs sort as
// their bytes do.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// idSource makes IDs of 48 bits of milliseconds and 80 bits that are random for
// the first ID of a millisecond and count up within it, so that IDs of one
// process sort in the order in which they were made.
var idSource struct {
	sync.Mutex
	last [16]byte
}

// newID returns prefix and 26 characters.
func newID(prefix string, now time.Time) string {
	ms := max(now.UnixMilli(), 0)
	s := &idSource
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
	return string(idEncoding.AppendEncode(buf, id[:]))
}

// idFromKey derives an event ID from an idempotency key. Keys of different
// tenants give different IDs.
func idFromKey(tenant, key string) string {
	h := sha256.Sum256([]byte(strconv.Itoa(len(tenant)) + ":" + tenant + key))
	return "key_" + idEncoding.EncodeToString(h[:20])
}

// newToken returns a random token of a claim, above 0.
func newToken() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>1) | 1
}

// validID reports whether s can be an event ID.
func validID(s string) bool { return len(s) <= MaxEventIDLength && eventtype.IsWord(s) }

// hasControl reports whether s has a control character.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// quoted quotes what a caller gave for an error text, cut to a bearable length.
func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// isNil reports whether v holds a nil pointer, on which a method with a value
// receiver would panic.
func isNil(v any) bool {
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}
