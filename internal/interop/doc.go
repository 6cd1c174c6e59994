// Package interop holds no code, only tests: they start receivers that nobody
// here wrote, as processes of their own, and send them real deliveries over
// sockets of this machine.
//
//   - the documented receiver of a few lines, behind Express and behind Fastify;
//   - the libraries of Standard Webhooks and of Svix for Node, and that of
//     Standard Webhooks for Go;
//   - nginx, HAProxy, Node and Go as servers that close idle connections soon, or
//     answer before they have read a body;
//   - Node's own crypto for Ed25519, and its JSON for the form of the body.
package interop
