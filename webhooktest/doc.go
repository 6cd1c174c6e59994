// Package webhooktest helps a host to test what it does with webhooks, without
// sockets and without waiting.
//
// A [Receiver] stands for a customer's endpoint: it checks signatures as the
// package verify does, records what arrives and answers as it is told. A
// [Transport] takes the place of the network and brings requests to receivers
// by the host in their URL. [New] ties a Dispatcher, a MemoryStore and a
// Transport together:
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
// Nothing here needs testing/synctest, and everything works inside a bubble of
// it: [Receiver.RoundTrip] and Transport use neither sockets nor goroutines.
// Make what is used in a bubble inside the bubble. Outside of one, retries, delays
// and time-outs take the time they say.
//
// # Sockets
//
// For a test with real ones [Receiver.Serve] listens on loopback, which a
// Dispatcher refuses to dial unless [AllowLoopback] permits it.
package webhooktest
