package killtest

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
)

// rotate gives webhooks new secrets, one after the other, and writes down what
// it is about to do and what was acknowledged.
func rotate(s *spec) error {
	ctx, stop := signal.NotifyContext(background(), syscall.SIGTERM)
	defer stop()
	db, store, err := openWatched(s)
	if err != nil {
		return err
	}
	defer db.close()
	d, err := webhook.New(store, webhook.Config{
		Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(s.file("rotated"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := s.sayReady("ready"); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / time.Duration(s.Rate))
	defer tick.Stop()
	all := hooks()
	for n := s.First; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		h := all[mix(s.Seed, "rotated", n)%uint64(len(all))]
		rotation := 1 + int(n%(maxRotations-1))
		if _, err := fmt.Fprintf(out, "%d intent %s %d\n", time.Now().UnixNano(), h.Key, rotation); err != nil {
			return err
		}
		// What has begun is finished, so that an orderly stop leaves no doubt.
		if _, _, err := d.RotateSecret(background(), h.Tenant, s.Hooks[h.Key], webhook.Rotation{Secret: secretOf(s.Seed, h.Key, rotation)}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%d ack %s %d\n", time.Now().UnixNano(), h.Key, rotation); err != nil {
			return err
		}
	}
}

// rotation is a secret that became, or may have become, a webhook's.
type rotation struct {
	secret        int
	intent, acked time.Time // acked is zero when the process died in between
}

// rotations are those of all webhooks, in order.
func (r *run) rotations() map[string][]rotation {
	r.t.Helper()
	out := map[string][]rotation{}
	for _, h := range hooks() {
		out[h.Key] = []rotation{{}}
	}
	for _, p := range r.all {
		if p.spec.Role != "rotator" {
			continue
		}
		r.lines(p, "rotated", func(f []string) error {
			var at int64
			var secret int
			if len(f) != 4 {
				return fmt.Errorf("%d fields", len(f))
			}
			if _, err := fmt.Sscan(f[0]+" "+f[3], &at, &secret); err != nil {
				return err
			}
			key := f[2]
			if f[1] == "intent" {
				out[key] = append(out[key], rotation{secret: secret, intent: time.Unix(0, at)})
			} else {
				out[key][len(out[key])-1].acked = time.Unix(0, at)
			}
			return nil
		})
	}
	return out
}

// current reports whether a secret may have been the current one between two
// moments.
func current(all []rotation, secret int, from, to time.Time) bool {
	for i, x := range all {
		over := slices.ContainsFunc(all[i+1:], func(y rotation) bool { return !y.acked.IsZero() && y.acked.Before(from) })
		if x.secret == secret && !x.intent.After(to) && !over {
			return true
		}
	}
	return false
}

// settled is when the settings that a request was made with were read at the
// latest: they may be a second old when its attempt begins, and were read before
// that by the claim that took it, where that was slow.
func (ev *evidence) settled(p pair, q request) time.Time {
	at := q.at.Add(-hookTimeout) // at the earliest, if the attempt was not recorded
	for _, a := range ev.stored[p].attempts {
		if a.Number == q.attempt && a.StartedAt.Before(q.at) {
			at = a.StartedAt
		}
	}
	for _, h := range ev.holds[p] {
		if !h.from.After(at) && !h.to.Before(at) {
			at = at.Add(h.asked.Sub(h.from))
			break
		}
	}
	return at.Add(-2 * time.Second)
}

// judgeRotations checks that every request was signed with a secret that was,
// or may have been, the current one, and that every webhook has one still, and
// the one before it beside it.
func (r *run) judgeRotations(ev *evidence) {
	r.t.Helper()
	all := r.rotations()
	wrong, rotated := 0, 0
	for p, reqs := range ev.requests {
		for _, q := range reqs {
			if q.secret > 0 {
				rotated++
			}
			if known := all[p.key]; known != nil && q.signed && !current(known, q.secret, ev.settled(p, q), q.at) {
				if wrong++; wrong < 10 {
					r.t.Errorf("seed %d: a request to %s at %v was signed with secret %d, which was not the current one: %v", r.opt.Seed, p.key, q.at, q.secret, known)
				}
			}
		}
	}
	for key, w := range r.ids {
		rec, err := r.db.store.GetWebhook(r.t.Context(), w.Tenant, w.ID)
		if err != nil {
			r.t.Error(err)
			continue
		}
		had := map[string]int{}
		for n := range maxRotations {
			had[secretOf(r.opt.Seed, key, n)] = n
		}
		for i, s := range rec.Secrets {
			n, known := had[s.Value]
			if !known || i == 0 && !current(all[key], n, time.Now(), time.Now()) {
				r.t.Errorf("seed %d: secret %d of webhook %s is not one that it was given last: %+v", r.opt.Seed, i, key, all[key])
			}
		}
		done := slices.ContainsFunc(all[key][1:], func(x rotation) bool { return !x.acked.IsZero() })
		if len(rec.Secrets) == 0 || done && len(rec.Secrets) < 2 {
			r.t.Errorf("seed %d: webhook %s has %d secrets after its rotations", r.opt.Seed, key, len(rec.Secrets))
		}
	}
	if rotated == 0 {
		r.t.Error("no request was signed with a new secret: it proves nothing")
	}
}
