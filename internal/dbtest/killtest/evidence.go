package killtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed68722ecd/webhook"
)

// pair is one event on its way to one webhook of the load.
type pair struct {
	n   uint64
	key string
}

// request is one line of the receiver.
type request struct {
	at      time.Time
	attempt int
	sum     string
	signed  bool
	secret  int // that it was signed with: so many rotations after the first
	kind    string
}

// accepted reports whether the receiver took the event.
func (q request) accepted() bool { return strings.HasPrefix(q.kind, "200") }

// hold is the time in which a dispatcher held a delivery.
type hold struct {
	by       string    // the dispatcher
	asked    time.Time // when its claim began
	from, to time.Time
	begun    bool // its result was about to be recorded
	good     bool // and was a success
	cut      bool // it ended with the process
	taken    bool // the delivery was claimed again meanwhile
	slow     bool // its dispatcher could not renew in time, and says so
}

// record is what the database says of a delivery.
type record struct {
	webhook.Delivery
	attempts []webhook.Attempt
}

// evidence is all that is known after a run.
type evidence struct {
	intent, abandoned map[uint64]bool
	acked             map[uint64]time.Time
	requests          map[pair][]request
	strangers         []string // requests that are of no event of this run
	holds             map[pair][]hold
	stored            map[pair]record
	waits             map[string][]span // of each dispatcher: when it was not let run
	errors            int               // of the publishers
}

// collect reads what all processes wrote, and the database.
func (r *run) collect() *evidence {
	r.t.Helper()
	ev := &evidence{
		intent: map[uint64]bool{}, acked: map[uint64]time.Time{}, abandoned: map[uint64]bool{},
		requests: map[pair][]request{}, holds: map[pair][]hold{}, stored: map[pair]record{}, waits: map[string][]span{},
	}
	keys := map[string]string{} // by webhook ID
	for _, ids := range append(slices.Collect(maps.Values(r.hosts)), r.ids) {
		for key, w := range ids {
			keys[w.ID] = key
		}
	}
	for _, p := range r.all {
		switch p.spec.Role {
		case "publisher":
			r.lines(p, "published", ev.published)
		case "receiver":
			r.lines(p, "requests", func(f []string) error { return ev.requested(r.opt.Seed, f) })
		case "dispatcher":
			r.journal(ev, p, keys)
		case "host":
			r.lines(p, "published", ev.published)
			r.journal(ev, p, keys)
			r.readReport(ev, p, keys)
		}
	}
	for _, holds := range ev.holds {
		settle(holds)
	}
	if r.db != nil {
		r.readStore(ev, keys)
	}
	return ev
}

// lines calls each for every complete line of a file.
func (r *run) lines(p *process, kind string, each func(fields []string) error) {
	r.t.Helper()
	f, err := os.Open(p.spec.file(kind))
	if os.IsNotExist(err) {
		return // it was killed before it had made one
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return // what has no end was cut off by a kill
		}
		if err := each(strings.Fields(line)); err != nil {
			r.t.Fatalf("%s: %v: %s", p.spec.file(kind), err, line)
		}
	}
}

func (ev *evidence) published(f []string) error {
	var n uint64
	var at int64
	if len(f) < 3 {
		return fmt.Errorf("%d fields", len(f))
	}
	if _, err := fmt.Sscan(f[0]+" "+f[2], &at, &n); err != nil {
		return err
	}
	switch f[1] {
	case "intent":
		ev.intent[n] = true
	case "rollback":
		ev.abandoned[n] = true
	case "ack":
		ev.acked[n] = time.Unix(0, at)
	case "error":
		ev.errors++
	}
	return nil
}

func (ev *evidence) requested(seed uint64, f []string) error {
	var at int64
	var q request
	if len(f) != 7 {
		ev.strangers = append(ev.strangers, strings.Join(f, " "))
		return nil
	}
	if _, err := fmt.Sscan(f[0]+" "+f[3], &at, &q.attempt); err != nil {
		return err
	}
	n, ok := number(seed, f[2])
	if !ok {
		ev.strangers = append(ev.strangers, strings.Join(f, " "))
		return nil
	}
	q.at, q.sum, q.kind = time.Unix(0, at), f[4], f[6]
	if rotation, ok := strings.CutPrefix(f[5], "signed-"); ok {
		if _, err := fmt.Sscan(rotation, &q.secret); err != nil {
			return err
		}
		q.signed = true
	}
	ev.requests[pair{n, f[1]}] = append(ev.requests[pair{n, f[1]}], q)
	return nil
}

// journal reads what a dispatcher held.
func (r *run) journal(ev *evidence, p *process, keys map[string]string) {
	type open struct {
		pair
		hold
	}
	held := map[string]*open{}
	closeHold := func(id string, at time.Time, cut bool) {
		if h := held[id]; h != nil {
			h.to, h.cut = at, cut
			ev.holds[h.pair] = append(ev.holds[h.pair], h.hold)
			delete(held, id)
		}
	}
	r.lines(p, "journal", func(f []string) error {
		var ns int64
		if _, err := fmt.Sscan(f[0], &ns); err != nil {
			return err
		}
		at := time.Unix(0, ns)
		asked := at
		if last, ok := strings.CutPrefix(f[len(f)-1], "@"); ok {
			if _, err := fmt.Sscan(last, &ns); err != nil {
				return err
			}
			asked, f = time.Unix(0, ns), f[:len(f)-1]
		}
		for _, id := range f[2:] {
			switch f[1] {
			case "claim":
				id, rest, _ := strings.Cut(id, "=")
				eventID, hookID, _ := strings.Cut(rest, "/")
				n, ok := number(r.opt.Seed, eventID)
				if h := held[id]; h != nil {
					// It lost the lease, and has claimed the delivery again itself.
					h.taken = true
					closeHold(id, at, false)
				}
				if key := keys[hookID]; ok && key != "" {
					held[id] = &open{pair{n, key}, hold{by: p.spec.Name, asked: asked, from: at}}
				}
			case "waited":
				if _, err := fmt.Sscan(id, &ns); err != nil {
					return err
				}
				ev.waits[p.spec.Name] = append(ev.waits[p.spec.Name], span{at.Add(-time.Duration(ns)), at})
			case "good":
				if h := held[id]; h != nil {
					h.good = true
				}
			case "begin":
				if h := held[id]; h != nil {
					h.begun = true
				}
			case "slow":
				for _, h := range held {
					h.slow = true
				}
			case "done":
				closeHold(id, at, false)
			}
		}
		return nil
	})
	for _, id := range slices.Collect(maps.Keys(held)) {
		closeHold(id, p.ended, true)
	}
}

// settle sorts holds. One that another dispatcher took over ended then: the
// process that lost it has no more to say about it.
func settle(holds []hold) {
	slices.SortFunc(holds, func(a, b hold) int { return a.from.Compare(b.from) })
	for i := range holds[:len(holds)-1] {
		if next := holds[i+1].from; holds[i].to.After(next) {
			holds[i].to, holds[i].cut, holds[i].taken = next, false, true
		}
	}
}

// readReport reads what a host has reported of a memory store.
func (r *run) readReport(ev *evidence, p *process, keys map[string]string) {
	r.t.Helper()
	text, err := os.ReadFile(p.spec.file("report"))
	if os.IsNotExist(err) {
		return // it was killed
	}
	for line := range bytes.Lines(text) {
		var rep reported
		if err = json.Unmarshal(line, &rep); err != nil { //nolint:musttag // both ends are this type
			break
		}
		if n, ok := number(r.opt.Seed, rep.Delivery.EventID); ok {
			ev.stored[pair{n, keys[rep.Delivery.WebhookID]}] = record{rep.Delivery, rep.Attempts}
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// readStore reads every delivery with its attempts.
func (r *run) readStore(ev *evidence, keys map[string]string) {
	ctx, cancel := context.WithTimeout(background(), 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var readers sync.WaitGroup
	limit := make(chan struct{}, 4)
	for _, tenant := range tenants() {
		readers.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			q := webhook.DeliveryQuery{Tenant: tenant, Limit: 500}
			for {
				page, err := r.d.Deliveries(ctx, q)
				if err != nil {
					r.t.Errorf("listing deliveries: %v", err)
					return
				}
				for _, d := range page.Items {
					n, ok := number(r.opt.Seed, d.EventID)
					if key := keys[d.WebhookID]; !ok || key == "" {
						continue // of a webhook that came and went
					}
					as, err := r.d.Attempts(ctx, tenant, d.ID)
					if err != nil {
						r.t.Errorf("attempts of %s: %v", d.ID, err)
						return
					}
					mu.Lock()
					ev.stored[pair{n, keys[d.WebhookID]}] = record{d, as}
					mu.Unlock()
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					return
				}
			}
		})
	}
	readers.Wait()
}
