package post

// Class is the kind of failure that ended an attempt. It is empty for an attempt that
// succeeded. The texts are those of webhook.ErrorClass.
type Class string

// The classes of failure.
const (
	ClassDNS      Class = "dns"      // the host name did not resolve
	ClassConnect  Class = "connect"  // no TCP connection, or it was reset
	ClassTLS      Class = "tls"      // the handshake or the certificate was refused
	ClassTimeout  Class = "timeout"  // the timeout passed at any stage
	ClassBlocked  Class = "blocked"  // the address may not be dialed
	ClassStatus   Class = "status"   // an answer whose status is not 2xx
	ClassProtocol Class = "protocol" // an answer that is not valid HTTP, or too large a head
	ClassInternal Class = "internal" // this side failed: a transport of the host's broke its contract
	ClassUnsent   Class = "unsent"   // the proxy, the network or the machine of the sender failed
)
