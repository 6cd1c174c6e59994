package killtest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// ledger compares the evidence with the claims A to F.
type ledger struct {
	r      *run
	ev     *evidence
	row    Row
	bad    map[string][]string
	hooks  map[string]hook
	hangs  map[string][]span      // of each webhook: when an attempt ran into its timeout
	starts map[string][]time.Time // of each dispatcher: when its attempts began
}

// judge checks every claim and reports what does not hold, with the seed.
func (r *run) judge(ev *evidence) Row {
	r.t.Helper()
	l := &ledger{r: r, ev: ev, bad: map[string][]string{}}
	l.hooks = hooksByKey()
	l.row.Seed, l.row.Kills, l.row.Outages = r.opt.Seed, len(r.kills), len(r.outages)
	l.row.Published, l.row.Drain, l.row.Machine = len(ev.acked), r.took, r.machine.longest()
	l.noLoss()
	l.noPhantom()
	l.boundedDuplicates()
	l.nothingStuck()
	l.honestAttempts()
	l.healthyProcesses()
	for _, claim := range slices.Sorted(mapsKeys(l.bad)) {
		found := l.bad[claim]
		r.t.Errorf("seed %d, claim %s: %d violations:\n  %s", r.opt.Seed, claim, len(found), strings.Join(found[:min(len(found), 10)], "\n  "))
	}
	return l.row
}

func mapsKeys(m map[string][]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (l *ledger) fault(claim, format string, args ...any) {
	l.bad[claim] = append(l.bad[claim], fmt.Sprintf(format, args...))
}

// name is how a pair is called in a report.
func (l *ledger) name(p pair) string {
	return makeEvent(l.r.opt.Seed, p.n).ID + " to " + p.key + " (" + l.r.webhook(p).ID + ", delivery " + l.ev.stored[p].ID + ")"
}

// matches returns the webhooks that an event is for.
func (l *ledger) matches(e event) []pair {
	var out []pair
	for key, h := range l.hooks {
		if h.Tenant == e.Tenant && slices.Contains(h.Types, e.Type) {
			out = append(out, pair{e.N, key})
		}
	}
	return out
}

// noLoss is claim A: everything acknowledged was received by all it was for, or
// failed with every attempt answered. What was not acknowledged was stored for
// all it was for or for none (D29).
func (l *ledger) noLoss() {
	for n := range l.ev.intent {
		e := makeEvent(l.r.opt.Seed, n)
		pairs := l.matches(e)
		stored := 0
		for _, p := range pairs {
			if _, ok := l.ev.stored[p]; ok {
				stored++
			}
		}
		if stored != 0 && stored != len(pairs) {
			l.fault("D29", "%s was stored for %d of %d webhooks", e.ID, stored, len(pairs))
		}
		if l.ev.acked[n].IsZero() || l.r.forgets {
			continue // of what processes forget the scenario knows more
		}
		for _, p := range pairs {
			rec, ok := l.ev.stored[p]
			received := slices.ContainsFunc(l.ev.requests[p], request.accepted)
			switch {
			case !ok && l.r.forgotten(l.ev.acked[n]):
				l.row.Lost++ // counted, and no fault: the database has lost it (PG10)
			case !ok:
				l.row.Lost++
				l.fault("A", "%s is not in the database", l.name(p))
			case rec.State == webhook.StateSucceeded && received:
				l.row.Delivered++
			case rec.State == webhook.StateFailed && rec.Reason == webhook.ReasonRetriesExhausted && rec.Tries == 1+l.r.retries:
				l.row.Failed++
			case l.r.reported && rec.State == webhook.StatePending && l.good(p, l.ev.requests[p], rec) == 0:
				l.row.Failed++
			case rec.Reason == webhook.ReasonQuarantined && l.r.poison && e.Type == poisonType:
				l.row.Failed++
			default:
				l.row.Lost++
				l.fault("A", "%s is %s %s after %d tries and %d requests, received: %v: %s", l.name(p), rec.State, rec.Reason, rec.Tries, len(l.ev.requests[p]), received, l.history(p))
			}
		}
	}
}

// noPhantom is claim D: nothing arrived that was not published, that was rolled
// back, that was for someone else, or that is not what was published.
func (l *ledger) noPhantom() {
	for _, s := range l.ev.strangers {
		if !strings.Contains(s, " "+churnPrefix) {
			l.fault("D", "a request of no event: %s", s)
		}
	}
	for p, reqs := range l.ev.requests {
		if strings.HasPrefix(p.key, churnPrefix) {
			continue // judged by the scenario, which knows what it did when
		}
		l.row.Requests += len(reqs)
		e := makeEvent(l.r.opt.Seed, p.n)
		h := l.hooks[p.key]
		switch {
		case l.ev.abandoned[p.n]:
			l.fault("D", "%s was rolled back and arrived", l.name(p))
		case !l.ev.intent[p.n]:
			l.fault("D", "%s was never published and arrived", l.name(p))
		case h.Tenant != e.Tenant || !slices.Contains(h.Types, e.Type):
			l.fault("D", "%s was not for this webhook", l.name(p))
		}
		w := l.r.webhook(p)
		sum := sha256.Sum256(e.body(w.ID, w.Name))
		for _, q := range reqs {
			if !q.signed || q.sum != fmt.Sprintf("%x", sum[:16]) {
				l.fault("A", "%s, attempt %d: signature good: %v, body as published: %v", l.name(p), q.attempt, q.signed, q.sum == fmt.Sprintf("%x", sum[:16]))
			}
		}
	}
	for p := range l.ev.stored {
		if l.ev.abandoned[p.n] {
			l.fault("D", "%s was rolled back and is in the database", l.name(p))
		}
	}
}

// allowance is how often a pair may have been sent in vain: once for each kill
// while it was claimed and not recorded, once for each outage of the store, and
// once for each lease that could not be renewed as the machine was too slow.
func (l *ledger) allowance(p pair) int {
	n := 0
	if l.r.exact {
		return 0
	}
	late := slices.ContainsFunc(l.ev.stored[p].attempts, func(a webhook.Attempt) bool { return a.Late })
	for _, h := range l.ev.holds[p] {
		if h.cut || h.slow && (h.taken || late) {
			n++ // a renewal that stalls may cost a duplicate (D3)
			continue
		}
		for _, k := range l.r.kills {
			if k.stopped && k.name == h.by && !k.at.Before(h.from) && !k.at.After(h.to) {
				n++
			}
		}
	}
	for _, o := range l.r.outages {
		for _, h := range l.ev.holds[p] {
			if h.from.Before(o.to.Add(l.r.base.Lease)) && o.from.Before(h.to) {
				n++
				if !o.forgets {
					break
				}
			}
		}
	}
	return n
}

// boundedDuplicates is claim B. A request whose answer came after the sender
// had given up is no duplicate: it was recorded as failed.
func (l *ledger) boundedDuplicates() {
	for p, reqs := range l.ev.requests {
		rec, ok := l.ev.stored[p]
		if !ok {
			continue
		}
		extra, allowed := max(l.good(p, reqs, rec)-1, 0), l.allowance(p)
		l.row.Duplicates += extra
		l.row.Allowed += allowed
		if extra > allowed {
			l.fault("B", "%s was received %d times too often, %d allowed: %s", l.name(p), extra, allowed, l.history(p))
		}
	}
}

// good counts the requests that were accepted, and whose sender had not given up
// by then.
func (l *ledger) good(p pair, reqs []request, rec record) int {
	good := 0
	for _, q := range reqs {
		if q.accepted() {
			good++
		}
	}
	for _, a := range rec.attempts {
		if kind, _ := answerFor(l.r.opt.Seed, p.key, rec.EventID, a.Number); !a.Succeeded() && strings.HasPrefix(kind, "200") &&
			slices.ContainsFunc(reqs, func(q request) bool { return q.attempt == a.Number }) {
			good--
		}
	}
	return good
}

// history is what happened to a pair, in order, for a report.
func (l *ledger) history(p pair) string {
	type moment struct {
		at   time.Time
		what string
	}
	var all []moment
	for _, q := range l.ev.requests[p] {
		all = append(all, moment{q.at, fmt.Sprintf("request %d %s", q.attempt, q.kind)})
	}
	for _, h := range l.ev.holds[p] {
		all = append(all, moment{h.from, "claimed by " + h.by}, moment{h.to, fmt.Sprintf("let go by %s (begun %v, cut %v)", h.by, h.begun, h.cut)})
	}
	for _, a := range l.ev.stored[p].attempts {
		all = append(all, moment{a.StartedAt, fmt.Sprintf("attempt %d took %v: %d %s late %v", a.Number, a.Duration, a.Status, a.Class, a.Late)})
	}
	slices.SortFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	var out strings.Builder
	for _, m := range all {
		fmt.Fprintf(&out, "\n    %s %s", m.at.Format("15:04:05.000"), m.what)
	}
	return out.String()
}

// honestAttempts is claim E.
func (l *ledger) honestAttempts() {
	for p, reqs := range l.ev.requests {
		rec, ok := l.ev.stored[p]
		if !ok {
			continue
		}
		answered, numbers := 0, map[int]int{}
		for _, a := range rec.attempts {
			if a.Status != 0 && !a.Late {
				answered++
			}
		}
		for _, q := range reqs {
			numbers[q.attempt]++
		}
		allowed := l.allowance(p)
		if len(rec.attempts)+allowed < len(reqs) {
			l.fault("E", "%s: %d requests, %d attempts recorded, %d kills: %s", l.name(p), len(reqs), len(rec.attempts), allowed, l.history(p))
		}
		if most := (1 + l.r.retries) * (1 + l.r.replays); answered > most {
			l.fault("E", "%s: %d attempts were answered, %d allowed", l.name(p), answered, most)
		}
		for number, n := range numbers {
			if n > 1+allowed {
				l.fault("E", "%s: attempt number %d was sent %d times: %s", l.name(p), number, n, l.history(p))
			}
		}
	}
}
