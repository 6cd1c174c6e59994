package killtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
)

// timeScenarios set clocks wrong, take the receiver away, and change settings.
func timeScenarios() []Scenario {
	return []Scenario{
		{ID: "D15 no wake-up", run: noWakeUp},
		{ID: "C1 D16 clocks of two dispatchers off by ±10 min", run: clocksApart},
		{ID: "C1 D16 clocks jump by ±1 h", run: clocksJump},
		{ID: "C2 receiver down, then up", run: receiverDown},
		{ID: "C3 D11 settings change during K1", run: churned},
	}
}

// D15: the publisher is a process of its own, and nothing wakes dispatchers but
// their polling. Nothing fails, nothing arrives twice, and every delivery is
// claimed within a poll of its acknowledgement.
func noWakeUp(r *run) {
	r.exact = true
	r.opt.Rate = max(r.opt.Rate/4, 1)
	r.begin(2, nil)
	r.pause(4 * time.Second)
	r.after = func(ev *evidence) {
		var waits []time.Duration
		for n, acked := range ev.acked {
			for key := range r.ids {
				if holds := ev.holds[pair{n, key}]; len(holds) > 0 {
					waits = append(waits, holds[0].from.Sub(acked))
				}
			}
		}
		if len(waits) == 0 {
			r.t.Fatal("D15: nothing was claimed")
		}
		slices.Sort(waits)
		median, longest := waits[len(waits)/2], waits[len(waits)-1]
		r.t.Logf("D15: from acknowledgement to claim: median %v, longest %v", median, longest)
		if limit := pollTime + time.Second + 2*r.machine.longest(); longest > limit {
			r.t.Errorf("D15: seed %d: one was claimed after %v, %v allowed", r.opt.Seed, longest, limit)
		}
	}
}

// C1: the clock of one is fast, of the other slow, and one is killed.
func clocksApart(r *run) {
	r.skewed = true
	r.begin(2, func(i int, s *spec) { s.Clock = []time.Duration{10 * time.Minute, -10 * time.Minute}[i] })
	r.killDispatchers(max(r.opt.Kills/5, 2))
}

// C1: clocks jump by an hour, forward and back, and back again. On PostgreSQL
// each process has a clock of its own; on SQLite all share the machine's, which
// is the one that counts there.
func clocksJump(r *run) {
	r.skewed = true
	if r.srv == nil {
		r.base.Machine = time.Hour
	}
	r.begin(2, func(i int, s *spec) { s.Jump = []time.Duration{time.Hour, -time.Hour}[i] })
	for range max(r.opt.Kills/10, 1) {
		r.pause(r.scaled(time.Second))
		r.flag(jumpFile, true)
		r.pause(r.scaled(time.Second))
		r.kill(0)
		r.restart(0, nil)
		// A process whose first look at the file comes after the clock was set, and before any
		// other's, takes the clock for right: SQLite's stated limit, and not what is tested here.
		r.pause(time.Second)
		r.flag(jumpFile, false)
	}
	r.pause(time.Second)
}

// flag makes or removes a file that children look at.
func (r *run) flag(name string, on bool) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	var err error
	if on {
		err = os.WriteFile(path, nil, 0o600)
	} else {
		err = os.Remove(path)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// C2: the receiver refuses everything until retries are used up, and comes
// back. What failed is visible and replayed; everything arrives.
func receiverDown(r *run) {
	r.replays = 1
	r.opt.Rate = max(r.opt.Rate/10, 2)
	r.begin(2, nil)
	r.pause(time.Second)
	r.flag(downFile, true)
	r.pause(15 * time.Second * time.Duration(max(r.opt.Scale, 1)))
	r.flag(downFile, false)
	r.endLoad()
	if !eventually(drainLimit, func() bool { return r.pending() == 0 }) {
		r.t.Error("C2: deliveries are still pending")
	}
	failed := 0
	for _, w := range r.ids {
		req := webhook.ReplayRequest{Tenant: w.Tenant, WebhookID: w.ID, States: []webhook.State{webhook.StateFailed}}
		for {
			res, err := r.d.Replay(r.t.Context(), req)
			if err != nil {
				r.t.Fatal(err)
			}
			failed += res.Resent
			if req.Cursor = res.Next; req.Cursor == "" {
				break
			}
		}
	}
	if failed == 0 {
		r.t.Error("C2: nothing had failed: the receiver was not down for long enough to prove anything")
	}
}

// churnPrefix begins the keys of webhooks that come and go.
const churnPrefix = "churn-"

// C3: webhooks are created, edited, disabled, enabled, deleted and given new
// secrets, ten times a second, while dispatchers are killed. Nothing arrives at
// one that is off or gone, later than a second after that was done.
func churned(r *run) {
	r.begin(2, nil)
	c := &churn{r: r, off: map[string]time.Time{}}
	var stop atomic.Bool
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; !stop.Load(); i++ {
			<-tick.C
			c.step(i)
		}
	})
	r.killDispatchers(max(r.opt.Kills/2, 2))
	stop.Store(true)
	work.Wait()
	for _, w := range c.live {
		if err := r.d.DeleteWebhook(r.t.Context(), w.Tenant, w.ID); err != nil {
			r.t.Error(err)
		}
	}
	r.after = c.judge
}

type churn struct {
	r    *run
	live []webhook.Webhook
	keys []string
	made int
	off  map[string]time.Time // when a webhook was last switched off or deleted; zero: it is on
}

// step does one thing to one webhook.
func (c *churn) step(i int) {
	r, ctx := c.r, c.r.t.Context()
	if len(c.live) < 10 || i%7 == 0 && len(c.live) < 30 {
		h := hook{Key: fmt.Sprintf("%s%d", churnPrefix, c.made), Tenant: tenantName(c.made % tenantCount), Types: []string{"load.*"}}
		c.made++
		c.live = append(c.live, r.create(h))
		c.keys = append(c.keys, h.Key)
		return
	}
	at := i % len(c.live)
	w, key := c.live[at], c.keys[at]
	var err error
	switch i % 5 {
	case 0:
		_, _, err = r.d.RotateSecret(ctx, w.Tenant, w.ID, webhook.Rotation{Secret: secretOf(r.opt.Seed, key, 1+i%(maxRotations-1))})
	case 1:
		_, err = r.d.DisableWebhook(ctx, w.Tenant, w.ID, "churn")
		c.off[key] = time.Now()
	case 2:
		c.off[key] = time.Time{}
		_, err = r.d.EnableWebhook(ctx, w.Tenant, w.ID)
	case 3:
		var now webhook.Webhook
		if now, err = r.d.Webhook(ctx, w.Tenant, w.ID); err == nil {
			_, err = r.d.UpdateWebhook(ctx, w.Tenant, w.ID, now.Version, webhook.WebhookUpdate{Description: new(fmt.Sprintf("edit %d", i))})
		}
	case 4:
		err = r.d.DeleteWebhook(ctx, w.Tenant, w.ID)
		c.off[key] = time.Now()
		c.live = append(c.live[:at], c.live[at+1:]...)
		c.keys = append(c.keys[:at], c.keys[at+1:]...)
	}
	if err != nil {
		r.t.Errorf("C3: step %d at %s: %v", i, key, err)
	}
}

// judge looks for requests to webhooks that were off for good.
func (c *churn) judge(ev *evidence) {
	slack := 2*time.Second + 2*c.r.machine.longest() // one that settings may be old, one for the request
	late, all := 0, 0
	for p, reqs := range ev.requests {
		off := c.off[p.key]
		for _, q := range reqs {
			if p.key[:min(len(p.key), len(churnPrefix))] != churnPrefix {
				continue
			}
			all++
			if !q.signed {
				c.r.t.Errorf("C3: seed %d: a request to %s has no valid signature", c.r.opt.Seed, p.key)
			}
			if !off.IsZero() && q.at.Sub(off) > slack {
				late++
			}
		}
	}
	if late > 0 || all == 0 {
		c.r.t.Errorf("C3: seed %d: %d of %d requests came later than %v after their webhook was switched off or deleted", c.r.opt.Seed, late, all, slack)
	}
}
