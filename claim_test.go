package webhook

import (
	"fmt"
	"testing"
)

// What makes room in one batch is room for all whose results were in it.
func TestReleaseSeesTheRoomThatAllOfABatchMake(t *testing.T) {
	d, err := New(noStore{}, Config{MaxInFlight: 100, MaxClaimed: 100})
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(d, false)
	held := func(webhook string, n int) (jobs []*job) {
		for i := range n {
			j := &job{ClaimedDelivery: &ClaimedDelivery{Delivery: Delivery{ID: fmt.Sprint(webhook, i), WebhookID: webhook, Tenant: "t"}}}
			j.lane = e.lane(&j.Delivery)
			j.lane.held++
			e.held++
			e.holding["t"]++
			e.jobs[j.Delivery.ID] = j
			jobs = append(jobs, j)
		}
		return jobs
	}
	jobs := append(held("a", 10), held("b", 80)...)
	jobs[0].lane.more = true
	e.release(jobs...)
	if len(e.claimWake) != 1 {
		t.Error("nothing is claimed for a webhook that has more and all the room")
	}
}
