// Package storetest checks that an implementation of [webhook.Store] keeps its
// contract.
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
// Each subtest checks one sentence of the contract, and a failure quotes that
// sentence. [CheckInvariants] checks the contents of any Store, for use after a
// crash or a load test.
package storetest

import (
	"runtime/debug"
	"testing"

	"github.com/seed68722ecd/webhook"
)

// Run checks a Store against the contract, one subtest per sentence, such as
// Claim/ExpiredLeaseIsReclaimable.
//
// Run calls newStore once per subtest. newStore returns an empty Store that no
// other subtest uses, and closes it with t.Cleanup. Subtests run one after the
// other, so stores may share one database that newStore empties.
//
// The suite never sleeps: it passes the time to the Store as now, which starts
// at a fixed instant and moves forward. A Store with a clock of its own needs
// an option for tests that makes it follow now.
//
// The optional interfaces are checked if the Store implements them:
// [webhook.BacklogStore], [webhook.EraseStore], [webhook.WebhookWalker].
//
// With -short the largest checks use fewer rows. Some subtests use the Store
// from several goroutines at once, so run the suite with -race.
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

// RunBounded checks the behaviour of a full Store. It is for Stores that hold a
// limited number of deliveries; [Run] does not include it.
//
// newStore returns an empty Store that takes at most capacity pending
// deliveries. Otherwise it is as newStore of [Run].
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
	name string       // the promise, in CamelCase
	says string       // the sentence, word for word
	run  func(r *run) // reports violations of the sentence
}

// examine runs the check. A panic of the Store or of the check is a failure,
// and the checks after it still run.
func (c check) examine(r *run) {
	defer func() {
		if v := recover(); v != nil {
			r.brokenf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	c.run(r)
}

// group holds the checks of one method or one duty.
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
	{"WalkWebhooks", walkChecks}, // optional
	{"ListDeliveries", listDeliveryChecks},
	{"Resend", resendChecks},
	{"Replay", replayChecks},
	{"Prune", pruneChecks},
	{"Erase", eraseChecks}, // optional
	{"Tenant", tenantChecks},
	{"Alias", aliasChecks},
	{"Context", contextChecks},
	{"Bytes", bytesChecks},
	{"Backlog", backlogChecks},
	{"Stress", stressChecks},
}
