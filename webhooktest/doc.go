// Package webhooktest helps a host to test its use of webhooks, without sockets
// and without waiting.
//
// A [Receiver] plays a customer's endpoint: it checks signatures with the
// package verify, records requests and gives the answers that the test has set.
// A [Transport] replaces the network and routes requests to receivers by the
// host in their URL. [New] ties a Dispatcher, a memstore.Store and a Transport
// together:
//
//	func TestOrderPaidIsSent(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			env := webhooktest.New(t, webhook.Config{})
//			_, crm := env.Register("agent-1", webhook.WebhookSpec{})
//			crm.Answer(webhooktest.Status(503)) // the first attempt fails
//
//			shop.PayOrder(t.Context(), env.Dispatcher, 4711) // the code under test publishes
//
//			env.UntilIdle() // the retry too, 15 fake seconds later
//			if got := crm.Deliveries(); len(got) != 1 {
//				t.Errorf("the CRM accepted %d deliveries, want 1", len(got))
//			}
//		})
//	}
//
// # Time
//
// The package works with and without testing/synctest: [Receiver.RoundTrip] and
// Transport use no sockets and no goroutines. Create all values that are used
// in a bubble inside the bubble. Outside a bubble, retries, delays and timeouts
// take real time.
//
// # Sockets
//
// For a test with real sockets [Receiver.Serve] listens on loopback. A
// Dispatcher refuses to dial loopback unless its Config comes from
// [AllowLoopback].
package webhooktest
