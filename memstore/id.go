package memstore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// A delivery ID is the store's random prefix and the delivery's number in 13
// digits of base 32: it sorts by creation, leads to the delivery without a map
// of strings, and cannot be that of another store.
const (
	digits     = "0123456789abcdefghjkmnpqrstvwxyz"
	idPrefix   = 3 + 13
	idLength   = idPrefix + 13
	idsAtATime = 64
)

// digitValues is the value of each digit plus one; 0 for other bytes.
var digitValues = func() (values [256]uint8) {
	for i := range len(digits) {
		values[digits[i]] = uint8(i + 1)
	}
	return values
}()

// ids makes the IDs for a store's next numbers, which the call that uses it
// gives to that many deliveries. Up to 64 share an allocation.
type ids struct {
	s     *Store
	left  int
	chunk string
}

func (s *Store) newIDs(n int) ids { return ids{s: s, left: n} }

func (g *ids) next() string {
	if g.chunk == "" {
		n := min(g.left, idsAtATime)
		buf := g.s.idScratch[:0]
		for i := range n {
			buf = append(buf, g.s.prefix...)
			num := g.s.lastNum + 1 + uint64(i)
			for shift := 60; shift >= 0; shift -= 5 {
				buf = append(buf, digits[num>>shift&31])
			}
		}
		g.s.idScratch, g.left, g.chunk = buf, g.left-n, string(buf)
	}
	id := g.chunk[:idLength]
	g.chunk = g.chunk[idLength:]
	return id
}

// delivery returns the delivery of an ID, or nil.
func (s *Store) delivery(id string) *delivery {
	if len(id) != idLength || id[:idPrefix] != s.prefix {
		return nil
	}
	var num uint64
	for i := idPrefix; i < len(id); i++ {
		v := digitValues[id[i]]
		if v == 0 {
			return nil
		}
		num = num<<5 | uint64(v-1)
	}
	if d := s.byNum[num]; d != nil && d.id == id {
		return d
	}
	return nil
}

// deliveryOf returns the delivery if it is the tenant's.
func (s *Store) deliveryOf(tenant, id string) (*delivery, error) {
	d := s.delivery(id)
	if d == nil || d.event.rec.Tenant != tenant {
		return nil, fmt.Errorf("delivery %q: %w", id, webhook.ErrNotFound)
	}
	return d, nil
}

// Cursors hold the position of the last item of a page, the list they are for,
// and a sum keyed by the store, so that only its own are taken.
const (
	cursorWebhooks   = 'w'
	cursorDeliveries = 'd'
	cursorResends    = 'r' // first part of a replay: deliveries
	cursorMissing    = 'm' // second part: events
)

func (s *Store) sealCursor(b []byte) string {
	b = binary.BigEndian.AppendUint64(b, maphash.Bytes(s.seed, b))
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *Store) openCursor(cursor string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || strings.ContainsAny(cursor, "\r\n") { // which encoding/base64 skips
		return nil, fmt.Errorf("memory store: %w", webhook.ErrCursor)
	}
	if n := len(b) - 8; n >= 9 && binary.BigEndian.Uint64(b[n:]) == maphash.Bytes(s.seed, b[:n]) {
		return b[:n], nil
	}
	return nil, fmt.Errorf("memory store: %w", webhook.ErrCursor)
}

func (s *Store) webhookCursor(created time.Time, id string) string {
	b := binary.BigEndian.AppendUint64([]byte{cursorWebhooks}, uint64(created.UnixMicro()))
	return s.sealCursor(append(b, id...))
}

// openWebhookCursor returns zero values for an empty cursor.
func (s *Store) openWebhookCursor(cursor string) (created time.Time, id string, err error) {
	if cursor == "" {
		return time.Time{}, "", nil
	}
	b, err := s.openCursor(cursor)
	if err != nil {
		return time.Time{}, "", err
	}
	if b[0] != cursorWebhooks {
		return time.Time{}, "", fmt.Errorf("memory store: cursor of another list: %w", webhook.ErrCursor)
	}
	return timeOf(int64(binary.BigEndian.Uint64(b[1:]))), string(b[9:]), nil
}

func (s *Store) posCursor(list byte, p position) string {
	b := binary.BigEndian.AppendUint64([]byte{list}, uint64(p.at))
	return s.sealCursor(binary.BigEndian.AppendUint64(b, p.num))
}

func (s *Store) openPosCursor(cursor string) (list byte, p position, err error) {
	b, err := s.openCursor(cursor)
	if err != nil {
		return 0, position{}, err
	}
	if len(b) != 17 || b[0] == cursorWebhooks {
		return 0, position{}, fmt.Errorf("memory store: cursor of another list: %w", webhook.ErrCursor)
	}
	return b[0], position{int64(binary.BigEndian.Uint64(b[1:])), binary.BigEndian.Uint64(b[9:])}, nil
}
