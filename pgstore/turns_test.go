package pgstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lineUp gives the webhooks in w.found their place. Their tenants are known.
func lineUp(t *testing.T, w *walk) {
	t.Helper()
	if err := (&claim{s: &Store{walk: w}}).lineUp(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestTenantsTakeTurns(t *testing.T) {
	w := newWalk()
	for h := range int64(9) {
		w.belongs(map[int64]string{h: []string{"wide", "wide", "wide", "wide", "wide", "wide", "b", "b", "c"}[h]})
		w.add(h, 0)
	}
	lineUp(t, w)
	pass := map[string]bool{}
	turn := func(n int) (out []int64) {
		for _, c := range w.next(n, time.Now(), func(tenant string) bool { return pass[tenant] }, func(int64) int { return 1 }) {
			out = append(out, c.hook)
		}
		return out
	}
	want := func(name string, want []int64) {
		t.Helper()
		if d := cmp.Diff(want, turn(len(want))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	want("one webhook of each tenant, then the others", []int64{0, 6, 8, 1, 7, 2, 3, 4, 5})
	// A full claim took one delivery of each of the first two, which have more.
	cands := w.next(3, time.Now(), func(string) bool { return false }, func(int64) int { return 1 })
	w.served(cands, map[int64]taken{0: {1, 1}, 6: {1, 1}}, true, 10)
	want("the served webhook is last, and so is its tenant", []int64{8, 1, 7, 2, 6, 3, 4, 5, 0})
	pass["wide"] = true
	want("a tenant passed over", []int64{8, 7, 6})
	clear(pass)
	w.rest(1, time.Now(), time.Hour)
	w.rest(7, time.Now(), time.Hour)
	want("two webhooks rest", []int64{8, 2, 6, 3, 4, 5, 0})
	w.add(7, 0) // a new delivery does not end the rest
	lineUp(t, w)
	want("a resting webhook has a new delivery", []int64{8, 2, 6, 3, 4, 5, 0})
	w.rest(7, time.Now(), 0)
	want("its rest is over", []int64{8, 2, 6, 3, 7, 4, 5, 0})
}

// At most one waiting tenant is served before a new tenant.
func TestFreshTenantsDoNotWaitForARound(t *testing.T) {
	var q turns
	tenants := map[int64]string{}
	push := func(h int64, fresh bool) {
		tenants[h] = fmt.Sprint(h)
		q.push(tenants[h], h, fresh)
	}
	for h := range int64(1000) {
		push(h, h%2 == 0)
	}
	all := func(int64) bool { return true }
	noTenant := func(string) bool { return false }
	first := q.first(1000, noTenant, all)
	if d := cmp.Diff([]int64{0, 1, 2, 3}, first[:4]); d != "" {
		t.Errorf("turns (-want +got):\n%s", d)
	}
	q.done(tenants, first, first) // all were served and have more
	push(2000, true)
	push(2001, true)
	if d := cmp.Diff([]int64{2000, 0, 2001, 1, 2}, q.first(5, noTenant, all)); d != "" {
		t.Errorf("turns with two new tenants (-want +got):\n%s", d)
	}
}

// TestTurnsAgainstModel compares turns with plain lists, after random calls.
func TestTurnsAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		var q turns
		tenants := map[int64]string{}
		var order []string            // tenants in turn
		model := map[string][]int64{} // their webhooks
		push := func(h int64) {
			if len(model[tenants[h]]) == 0 {
				order = append(order, tenants[h])
			}
			model[tenants[h]] = append(model[tenants[h]], h)
			q.push(tenants[h], h, false)
		}
		for step := range int64(300) {
			tenants[step] = fmt.Sprint(r.IntN(1 + r.IntN(8)))
			push(step)
			n, over, refuse := 1+r.IntN(12), fmt.Sprint(r.IntN(9)), int64(2+r.IntN(9))
			got := q.first(n, func(tenant string) bool { return tenant == over }, func(h int64) bool { return h%refuse != 0 })
			var want []int64
			for round, more := 0, true; more; round++ {
				more = false
				for _, tenant := range order {
					taken := slices.DeleteFunc(slices.Clone(model[tenant]), func(h int64) bool { return h%refuse == 0 })
					if tenant == over || round >= len(taken) {
						continue
					}
					more = true
					if len(want) < n {
						want = append(want, taken[round])
					}
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("seed %d, step %d (-want +got):\n%s", seed, step, d)
			}
			served := got[:r.IntN(len(got)+1)]
			var again []int64
			var moved []string
			for _, h := range served {
				tenant := tenants[h]
				if !slices.Contains(moved, tenant) {
					moved = append(moved, tenant)
				}
				model[tenant] = slices.DeleteFunc(model[tenant], func(x int64) bool { return x == h })
				if r.IntN(2) == 0 {
					again = append(again, h)
				}
			}
			for _, h := range again {
				model[tenants[h]] = append(model[tenants[h]], h)
			}
			order = slices.DeleteFunc(order, func(tenant string) bool { return slices.Contains(moved, tenant) })
			for _, tenant := range moved {
				if len(model[tenant]) > 0 {
					order = append(order, tenant)
				}
			}
			q.done(tenants, served, again)
		}
	}
}
