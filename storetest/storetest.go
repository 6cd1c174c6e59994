// Package storetest checks that an implementation of [webhook.Store] keeps
// every promise of that contract.
//
// A Store's own tests call [Run]:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) webhook.Store {
//			s, err := mystore.Open(t.TempDir())
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { s.Close() })
//			return s
//		})
//	}
//
// Each subtest stands for one sentence of the contract, and a failure quotes
// the sentence that was broken. [CheckInvariants] looks over the contents of
// any Store, for use after a crash or a load test.
package storetest

import (
	"runtime/debug"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// Run checks a Store against the contract, one subtest per sentence, such as
// Claim/ExpiredLeaseIsReclaimable.
//
// newStore is called once per subtest and returns a Store that is empty and
// that no other subtest uses; it registers the closing of it with t.Cleanup.
// Subtests run one after the other, so that stores may share one database that
// newStore empties.
//
// The suite never sleeps: it says what time it is in the now that it passes in,
// which starts at a fixed instant and moves forward. A Store that uses a clock
// of its own offers its tests an option to follow the time it is passed.
//
// Of the optional abilities those are checked that the Store has:
// [webhook.BacklogStore], [webhook.EraseStore], [webhook.WebhookWalker].
//
// With -short the largest checks run with fewer rows. Several goroutines use
// the Store at once in some subtests: run it with -race.
func Run(t *testing.T, newStore func(t *testing.T) webhook.Store) {
	t.Helper()
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) {
					c.examine(newRun(t, c.says, newStore(t), testing.Short()))
				})
			}
		})
	}
}

// RunBounded checks what a Store does when it is full. It is for Stores that
// hold a limited number of deliveries; [Run] does not include it.
//
// newStore returns an empty Store that takes capacity pending deliveries and
// no more, as newStore of [Run] does otherwise.
func RunBounded(t *testing.T, newStore func(t *testing.T, capacity int) webhook.Store) {
	t.Helper()
	for _, c := range boundedChecks {
		t.Run(c.name, func(t *testing.T) {
			c.examine(newRun(t, c.says, newStore(t, boundedCapacity), testing.Short()))
		})
	}
}

// check tests one sentence of the contract.
type check struct {
	name string       // what holds, in CamelCase
	says string       // the sentence, word for word
	run  func(r *run) // reports what breaks the sentence
}

// examine runs the check. A Store that panics, or whose answer makes the check
// panic, fails it, and the checks after it still run.
func (c check) examine(r *run) {
	defer func() {
		if v := recover(); v != nil {
			r.brokenf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	c.run(r)
}

// group is the checks of one method or one duty.
type group struct {
	name   string
	checks []check
}

var groups = []group{
	{"Publish", publishChecks},
	{"Idempotence", idempotenceChecks},
	{"Claim", claimChecks},
	{"Fairness", fairnessChecks},
	{"Crash", crashChecks},
	{"Extend", extendChecks},
	{"Release", releaseChecks},
	{"Complete", completeChecks},
	{"Fence", fenceChecks},
	{"Attempt", attemptChecks},
	{"Health", healthChecks},
	{"OurFault", ourFaultChecks},
	{"Stats", statsChecks},
	{"Webhook", webhookChecks},
	{"Update", updateChecks},
	{"ListWebhooks", listWebhookChecks},
	{"WalkWebhooks", walkChecks}, // of Stores that can
	{"ListDeliveries", listDeliveryChecks},
	{"Resend", resendChecks},
	{"Replay", replayChecks},
	{"Prune", pruneChecks},
	{"Erase", eraseChecks}, // of Stores that can
	{"Tenant", tenantChecks},
	{"Alias", aliasChecks},
	{"Context", contextChecks},
	{"Bytes", bytesChecks},
	{"Backlog", backlogChecks},
	{"Stress", stressChecks},
}
