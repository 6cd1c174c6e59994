// Package post makes one POST and reports its outcome. It looks up the host name,
// connects, shakes hands, sends the request, reads the start of the answer, and
// explains a failure in the receiver's terms. It knows no store, no webhook and no
// event: a [Request] in, an [Answer] out.
//
// Package h1 below it is the client for HTTP/1.1. HTTP/2 is net/http's, on
// connections that this package opens.
package post
