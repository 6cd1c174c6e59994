package memstore

import (
	"fmt"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// check recounts what a store has counted, and looks for what it keeps
// though nothing leads to it.
func check(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending, finished, queued, leased, logged, alive, idle int
	var bytes, pendingBytes int64
	for _, d := range s.byNum {
		bytes += d.logBytes
		if d.state == webhook.StatePending {
			pending++
			pendingBytes += d.logBytes
		} else {
			finished++
		}
	}
	for _, tenant := range s.tenants {
		logged += tenant.deliveryLog.n
		if tenant.eventLog.n != len(tenant.events) {
			t.Errorf("%d events in the log, %d by ID", tenant.eventLog.n, len(tenant.events))
		}
		for _, e := range tenant.events {
			alive += e.alive
			bytes += int64(len(e.rec.Data))
			if e.pending > 0 {
				pendingBytes += int64(len(e.rec.Data))
			}
			if e.alive == 0 {
				idle++
			}
		}
		ofHooks := 0
		for _, h := range tenant.webhooks {
			ofHooks += h.log.n
			queued += h.queue.n
			leased += h.leases.n
			if h.rec == nil && h.log.n == 0 && !h.orphan {
				t.Errorf("deleted webhook %s is kept for nothing", h.id)
			}
		}
		if ofHooks != tenant.deliveryLog.n {
			t.Errorf("%d deliveries by webhook, %d by tenant", ofHooks, tenant.deliveryLog.n)
		}
	}
	held := 0
	for _, c := range s.claims {
		held += c.held
	}
	got := fmt.Sprint(s.pending, s.finished.n, queued+leased, held, logged, alive, s.idle.n, s.bytes, s.pendingBytes)
	want := fmt.Sprint(pending, finished, pending, leased, len(s.byNum), len(s.byNum), idle, bytes, pendingBytes)
	if got != want {
		t.Errorf("counted %s, recounted %s", got, want)
	}
}
