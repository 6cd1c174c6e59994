// Package verify checks webhook deliveries on the receiver's side: that a
// request was signed with the secret you were shown, that it was signed just
// now, and that its body has not changed since.
//
// [Middleware] wraps an http.Handler and [Request] checks one *http.Request.
// [Verify] takes a body and headers, for every framework that has its own
// request type. All three use the defaults; [New] takes a [Config] for the
// rest. The result is a [Delivery].
//
//	handler, err := verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//		d, _ := verify.FromContext(r.Context())
//		// d.Type, d.Data, and d.ID, which is the same for every copy
//	}), os.Getenv("WEBHOOK_SECRET"))
//
// # Guarantees
//
// When a function of this package returns a Delivery without an error, then
//
//   - the body is byte for byte as a holder of the secret (or of the private
//     key) signed it, and is at most [Config.MaxBody] bytes long;
//   - ID and SentAt were signed along with it, and SentAt lies within
//     [Config.Tolerance] of this machine's clock, on either side, unless
//     Scheme is [SchemePlain];
//   - Type, Timestamp, Webhook and Data were read from the signed body, after
//     the signature was found to be right, and never from a header.
//
// Signatures and keys are compared in constant time, and every secret is tried
// against every signature, also after a match. An empty or short secret is
// refused when the Verifier is made, since anyone could sign with an empty key.
// No error contains a secret, an expected signature or unquoted bytes of the
// request, and no input causes a panic.
//
// # Limits
//
// Delivery is at least once and unordered. The same delivery can arrive twice,
// because the sender never saw your answer; set [Config.Seen] or deduplicate on
// [Delivery.DedupKey]. Within the tolerance a captured request can also be sent
// again by an attacker; deduplication stops that.
//
// The plain X-Webhook-Signature header covers only the body. It carries no
// time, so a captured request with its plain signature verifies for ever, and
// no ID, so its copies cannot be told from new deliveries. It exists for
// receivers that are a few lines in any language. This package ignores it
// unless [Config.AllowPlain] is set, and also then whenever the standard header
// is there: a wrong webhook-signature is never rescued by a right plain one.
//
// How long a body may take to arrive is for the server to limit: set
// http.Server's ReadTimeout. This package bounds bytes, not time.
//
// # Standards
//
// The webhook-id, webhook-timestamp and webhook-signature headers follow
// Standard Webhooks, with the versions v1 (HMAC-SHA256) and v1a (Ed25519, with
// [Config.PublicKeys]). Entries of other versions are ignored.
package verify
