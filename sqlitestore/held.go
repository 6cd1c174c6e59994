package sqlitestore

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// lease is a delivery held by a claim.
type lease struct {
	key
	expiry   int64
	recorded bool // the delivery has a record already, so the next one goes to the table of attempts
}

// held is a claim: the leases under one token. Its row is written when the claim is
// made and when leases end, for many deliveries at a time. So a claim changes no
// rows of the deliveries themselves.
type held struct {
	token   int64
	leases  []lease
	stored  bool // the claim has a row
	changed bool
}

// encode packs leases into a few bytes each.
func (h *held) encode() (items []byte, expiry int64) {
	expiry = math.MaxInt64
	items = make([]byte, 0, 8+6*len(h.leases))
	base := h.leases[0].expiry
	items = binary.AppendVarint(items, base)
	last := key{}
	for _, l := range h.leases {
		expiry = min(expiry, l.expiry)
		items = binary.AppendVarint(items, (l.wkey-last.wkey)<<1|flag(l.recorded))
		items = binary.AppendVarint(items, l.seq-last.seq)
		items = binary.AppendVarint(items, l.expiry-base)
		last = l.key
	}
	return items, expiry
}

// decode is the inverse of encode.
func (h *held) decode(items []byte) error {
	next := func() int64 {
		v, n := binary.Varint(items)
		if n <= 0 {
			items = nil
			return 0
		}
		items = items[n:]
		return v
	}
	size := len(items)
	base, last := next(), key{}
	h.leases = make([]lease, 0, size/3)
	for len(items) > 0 {
		w, seq, more := next(), next(), next()
		last = key{last.wkey + w>>1, last.seq + seq}
		if last.wkey <= 0 || last.seq <= 0 {
			return fmt.Errorf("claim %d: the list of its leases is damaged", h.token)
		}
		h.leases = append(h.leases, lease{last, base + more, w&1 == 1})
	}
	return nil
}

// find returns the lease of a delivery, or nil.
func (h *held) find(k key) *lease {
	if i := h.index(k); i >= 0 {
		return &h.leases[i]
	}
	return nil
}

func (h *held) index(k key) int {
	for i := range h.leases {
		if h.leases[i].key == k {
			return i
		}
	}
	return -1
}

// drop ends a lease.
func (h *held) drop(k key) {
	i := h.index(k)
	if i < 0 {
		return
	}
	h.leases[i] = h.leases[len(h.leases)-1]
	h.leases = h.leases[:len(h.leases)-1]
	h.changed = true
}

// ledger has the claims that a transaction uses.
type ledger struct {
	r       runner
	byToken map[int64]*held
}

func newLedger(r runner) *ledger { return &ledger{r, map[int64]*held{}} }

// claim returns the claim of a token, or a new one without leases.
func (l *ledger) claim(token int64) (*held, error) {
	if h := l.byToken[token]; h != nil {
		return h, nil
	}
	h := &held{token: token}
	err := l.r.query(`SELECT items FROM {claims} WHERE token = ?`, []any{token}, func(v []driver.Value) error {
		h.stored = true
		return h.decode(blob(v[0]))
	})
	if err != nil {
		return nil, err
	}
	l.byToken[token] = h
	return h, nil
}

// expired returns the claims with expired leases, and the time when the next lease
// expires.
func (l *ledger) expired(now int64) ([]*held, int64, error) {
	var out []*held
	next := int64(math.MaxInt64)
	err := l.r.query(`SELECT token, items FROM {claims} WHERE expiry <= ? ORDER BY expiry LIMIT 256`, []any{now}, func(v []driver.Value) error {
		h := &held{token: integer(v[0]), stored: true}
		l.byToken[h.token] = h
		out = append(out, h)
		return h.decode(blob(v[1]))
	})
	if err != nil {
		return nil, 0, err
	}
	for _, h := range out {
		for _, l := range h.leases {
			if l.expiry > now {
				next = min(next, l.expiry)
			}
		}
	}
	err = l.r.query(`SELECT expiry FROM {claims} WHERE expiry > ? ORDER BY expiry LIMIT 1`, []any{now}, func(v []driver.Value) error {
		next = min(next, integer(v[0]))
		return nil
	})
	return out, next, err
}

// holder returns the claim that holds a delivery, or nil. It searches all claims,
// which are few.
func (l *ledger) holder(k key) (*held, error) {
	var out *held
	err := l.r.query(`SELECT token, items FROM {claims}`, nil, func(v []driver.Value) error {
		h := &held{token: integer(v[0]), stored: true}
		if err := h.decode(blob(v[1])); err != nil {
			return err
		}
		if h.find(k) != nil {
			out = h
			l.byToken[h.token] = h
		}
		return nil
	})
	return out, err
}

// dropAll ends the leases of deleted deliveries. Like holder it searches all
// claims.
func (l *ledger) dropAll(gone map[key]bool) error {
	err := l.r.query(`SELECT token, items FROM {claims}`, nil, func(v []driver.Value) error {
		h := &held{token: integer(v[0]), stored: true}
		if err := h.decode(blob(v[1])); err != nil {
			return err
		}
		kept := slices.DeleteFunc(h.leases, func(l lease) bool { return gone[l.key] })
		if h.changed = len(kept) < len(h.leases); h.changed {
			h.leases = kept
			l.byToken[h.token] = h
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.save()
}

// save writes the changed claims.
func (l *ledger) save() error {
	for _, h := range l.byToken {
		if !h.changed {
			continue
		}
		h.changed = false
		if len(h.leases) == 0 {
			if h.stored {
				if _, err := l.r.exec(`DELETE FROM {claims} WHERE token = ?`, h.token); err != nil {
					return err
				}
				h.stored = false
			}
			continue
		}
		items, expiry := h.encode()
		q := `INSERT INTO {claims} (items, expiry, token) VALUES (?, ?, ?)`
		if h.stored {
			q = `UPDATE {claims} SET items = ?, expiry = ? WHERE token = ?`
		}
		if _, err := l.r.exec(q, items, expiry, h.token); err != nil {
			return err
		}
		h.stored = true
	}
	return nil
}
