package pgstore

import (
	"container/heap"
	"context"
	"database/sql"
	"slices"
	"time"
)

// turns is the order in which claims serve webhooks: tenants take turns, however
// many webhooks each has, and so do the webhooks of a tenant. Every other turn goes
// to a tenant that was not served yet, so that it need not wait for all tenants
// with a backlog. The cost of an operation depends on the number of webhooks asked
// for, not on the number in turns.
type turns struct {
	tenants    map[string]*tenantTurn // tenants with webhooks in turns
	fresh, old queue[*tenantTurn]     // of these, the tenants not served yet, and the others
}

// tenantTurn is a tenant's webhooks in the order of their turns.
type tenantTurn struct {
	name  string
	hooks queue[int64]
	fresh bool
}

// push puts a webhook behind its tenant's others. fresh says whether its first
// delivery has become due just now.
func (t *turns) push(tenant string, hook int64, fresh bool) {
	of := t.tenants[tenant]
	if of == nil {
		of = &tenantTurn{name: tenant, fresh: fresh}
		if t.tenants == nil {
			t.tenants = map[string]*tenantTurn{}
		}
		t.tenants[tenant] = of
		if fresh {
			t.fresh.push(of)
		} else {
			t.old.push(of)
		}
	}
	of.hooks.push(hook)
}

// inTurn yields the tenants in the order of their turns.
func (t *turns) inTurn(yield func(*tenantTurn) bool) {
	fresh, old := t.fresh.all(), t.old.all()
	for len(fresh) > 0 || len(old) > 0 {
		if len(fresh) > 0 && !yield(fresh[0]) || len(old) > 0 && !yield(old[0]) {
			return
		}
		fresh, old = fresh[min(1, len(fresh)):], old[min(1, len(old)):]
	}
}

// first returns the webhooks whose turn it is: up to n that take accepts. It skips
// tenants for which pass is true.
func (t *turns) first(n int, pass func(tenant string) bool, take func(hook int64) bool) (out []int64) {
	type place struct {
		of *tenantTurn
		at int
	}
	// next takes the next webhook of a tenant and reports whether there may be
	// more.
	next := func(p *place) bool {
		for hooks := p.of.hooks.all(); p.at < len(hooks); {
			h := hooks[p.at]
			p.at++
			if take(h) {
				out = append(out, h)
				return p.at < len(hooks)
			}
		}
		return false
	}
	var again []place
	for of := range t.inTurn {
		if len(out) == n {
			return out
		}
		if pass(of.name) {
			continue
		}
		if p := (place{of: of}); next(&p) {
			again = append(again, p)
		}
	}
	for len(again) > 0 {
		left := again[:0]
		for i := range again {
			if len(out) == n {
				return out
			}
			if next(&again[i]) {
				left = append(left, again[i])
			}
		}
		again = left
	}
	return out
}

// done removes the served webhooks, puts those in again back behind the others of
// their tenant, and moves their tenants behind the other tenants. tenants has the
// tenant of each webhook.
func (t *turns) done(tenants map[int64]string, served, again []int64) {
	type part struct{ served, again []int64 }
	parts := map[*tenantTurn]*part{}
	var order []*tenantTurn
	of := func(hook int64) *part {
		tt := t.tenants[tenants[hook]]
		if tt == nil {
			return &part{}
		}
		p := parts[tt]
		if p == nil {
			p = &part{}
			parts[tt] = p
			order = append(order, tt)
		}
		return p
	}
	for _, h := range served {
		p := of(h)
		p.served = append(p.served, h)
	}
	for _, h := range again {
		p := of(h)
		p.again = append(p.again, h)
	}
	var behind []*tenantTurn
	fresh := 0
	for _, tt := range order {
		if tt.fresh {
			fresh++
		}
		p := parts[tt]
		slices.Sort(p.served)
		tt.hooks.remove(len(p.served), func(h int64) bool { _, ok := slices.BinarySearch(p.served, h); return ok })
		for _, h := range p.again {
			tt.hooks.push(h)
		}
		if tt.hooks.len() > 0 {
			behind = append(behind, tt)
		} else {
			delete(t.tenants, tt.name)
		}
	}
	t.fresh.remove(fresh, func(tt *tenantTurn) bool { return parts[tt] != nil })
	t.old.remove(len(order)-fresh, func(tt *tenantTurn) bool { return parts[tt] != nil })
	for _, tt := range behind {
		tt.fresh = false
		t.old.push(tt)
	}
}

// queue is a list with appends at the end and removals near the front.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) all() []T { return q.items[q.head:] }
func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(x T) {
	if q.head > 64 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, x)
}

// remove removes the n elements for which gone is true. It looks no further than
// the last of them.
func (q *queue[T]) remove(n int, gone func(T) bool) {
	end := q.head
	for ; n > 0 && end < len(q.items); end++ {
		if gone(q.items[end]) {
			n--
		}
	}
	to := end
	for i := end - 1; i >= q.head; i-- {
		if x := q.items[i]; !gone(x) {
			to--
			q.items[to] = x
		}
	}
	clear(q.items[q.head:to])
	q.head = to
}

// resting has the webhooks that are out of turns for some time. Times are in
// microseconds, by the clock that measures leases.
type resting struct {
	spans map[int64]span
	ends  restHeap // may also have ends that were changed since
}

// span is the time in which a webhook rests. It ends early if the clock is set back
// to before its beginning.
type span struct{ from, until int64 }

func (s span) has(now int64) bool { return s.from-looksBack <= now && now < s.until }

type restEnd struct{ at, hook int64 }

type restHeap []restEnd

func (h restHeap) Len() int           { return len(h) }
func (h restHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h restHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *restHeap) Push(x any)        { *h = append(*h, x.(restEnd)) }
func (h *restHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// rest takes a webhook out of turns for d from now on; 0 ends its rest.
func (w *walk) rest(hook int64, callerNow time.Time, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := callerNow.UnixMicro() + w.ahead
	if _, was := w.resting.spans[hook]; !was && d <= 0 {
		return
	}
	if w.resting.spans == nil {
		w.resting.spans = map[int64]span{}
	}
	end := now + max(d, 0).Microseconds()
	w.resting.spans[hook] = span{now, end}
	heap.Push(&w.resting.ends, restEnd{end, hook})
}

// endRest ends the rest of a webhook that was changed: the reason for it may be
// gone.
func (w *walk) endRest(hook int64) { w.rest(hook, time.Time{}, 0) }

// endRests puts webhooks whose rest is over back into turns. The caller holds mu.
func (w *walk) endRests(now int64) {
	for len(w.resting.ends) > 0 {
		end := w.resting.ends[0]
		rests, ok := w.resting.spans[end.hook]
		if ok && rests.until == end.at && rests.has(now) {
			return
		}
		heap.Pop(&w.resting.ends)
		if !ok || rests.until != end.at {
			continue // the end was changed since
		}
		delete(w.resting.spans, end.hook)
		if r, ok := w.known[end.hook]; ok && r.out {
			r.out = false
			w.known[end.hook] = r
			w.turns.push(w.tenantOf[end.hook], end.hook, true)
		}
	}
}

// nextRest returns when the next rest of a webhook ends, or 0.
func (w *walk) nextRest() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.resting.ends) == 0 {
		return 0
	}
	return w.resting.ends[0].at
}

// restingHooks returns the resting webhooks; all is false if there are more than n.
func (w *walk) restingHooks(n int) (hooks []int64, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.resting.spans) > n {
		return nil, false
	}
	for h := range w.resting.spans {
		hooks = append(hooks, h)
	}
	return hooks, true
}

// maxTenantsOf bounds how many tenants the walk remembers of webhooks that have no
// delivery to claim.
const maxTenantsOf = 100_000

// belongs records the tenants of webhooks. A webhook never changes its tenant.
func (w *walk) belongs(tenants map[int64]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tenantOf)+len(tenants) > maxTenantsOf+2*len(w.known) {
		for h := range w.tenantOf {
			if _, ok := w.known[h]; !ok {
				delete(w.tenantOf, h)
			}
		}
	}
	for h, tenant := range tenants {
		w.tenantOf[h] = tenant
	}
}

// freshFor is the age of its first due delivery up to which a new webhook makes its
// tenant a fresh one. Webhooks found by a sweep have usually waited longer.
const freshFor = int64(time.Second / time.Microsecond)

// lineUp gives the webhooks found since the last call their place in turns. It
// looks up unknown tenants.
func (c *claim) lineUp(ctx context.Context, tx *sql.Tx) error {
	w := c.s.walk
	var ask []int64
	w.mu.Lock()
	for _, h := range w.found {
		if _, ok := w.tenantOf[h]; !ok {
			ask = append(ask, h)
		}
	}
	w.mu.Unlock()
	if len(ask) > 0 {
		tenants := make(map[int64]string, len(ask))
		for _, h := range ask {
			tenants[h] = "" // stays "" if the row was deleted by hand
		}
		rows, err := tx.QueryContext(ctx, c.s.sql(`SELECT wkey, tenant FROM {webhooks} WHERE wkey = ANY ($1::bigint[])`), ints(ask))
		var h int64
		var tenant string
		if err := each(rows, err, func() error {
			if err := rows.Scan(&h, &tenant); err != nil {
				return err
			}
			tenants[h] = tenant
			return nil
		}); err != nil {
			return err
		}
		w.belongs(tenants)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := c.req.Now.UnixMicro() + w.ahead
	late := w.found[:0]
	for _, h := range w.found {
		if tenant, ok := w.tenantOf[h]; ok {
			w.turns.push(tenant, h, w.known[h].since > now-freshFor)
		} else {
			late = append(late, h) // found meanwhile by another claim
		}
	}
	w.found = late
	return nil
}
