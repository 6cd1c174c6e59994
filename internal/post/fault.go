package post

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/seed68722ecd/webhook/guard"
)

// A SenderError is why an attempt could not be made that its receiver has no part
// in. Its text is for the host's log: it names the host's own machines.
type SenderError struct {
	Kind  string // proxy, network, resolver, machine
	Text  string // one line for the host's operator
	cause error
}

func (e *SenderError) Error() string { return e.Text }

// Unwrap returns the cause, if it is known.
func (e *SenderError) Unwrap() error { return e.cause }

// unsentText is all that customers are told of it.
const unsentText = "the sender could not send: its own network or proxy failed. Nothing reached the receiver, and no retry is used up; it is tried again by itself"

// A receiverError is a proxy's report about a receiver.
type receiverError struct {
	class Class
	text  string
}

func (e *receiverError) Error() string { return e.text }

// proxyError returns the proxy's name for the failure: the error of Proxy-Status
// (RFC 9209), or Squid's word.
func proxyError(h http.Header) string {
	for _, line := range h["Proxy-Status"] {
		for part := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(part, "=")
			if strings.TrimSpace(name) == "error" {
				value, _, _ = strings.Cut(value, ",")
				return strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
	}
	word, _, _ := strings.Cut(h.Get("X-Squid-Error"), " ")
	return word
}

// receiverFault explains the words by which a proxy says that it did its part and
// that the receiver could not be reached. The text is empty for all others.
func receiverFault(word string) (Class, string) {
	switch word {
	case "dns_error", "ERR_DNS_FAIL":
		return ClassDNS, "the host name does not exist, or its look-up failed"
	case "dns_timeout":
		return ClassDNS, "the look-up of the host name timed out"
	case "destination_ip_prohibited":
		return ClassBlocked, "the address is not one that may be dialed"
	case "destination_not_found", "destination_unavailable", "destination_ip_unroutable":
		return ClassConnect, "the host cannot be reached"
	case "connection_refused":
		return ClassConnect, "the connection was refused"
	case "connection_terminated":
		return ClassConnect, "the connection was closed"
	case "connection_timeout":
		return ClassTimeout, "timed out while connecting"
	case "ERR_CONNECT_FAIL":
		return ClassConnect, "no connection: refused, or the host cannot be reached"
	}
	return "", ""
}

// reasonOf returns the cause of a failure to speak with the proxy, without the parts
// of the error that repeat it.
func reasonOf(err error) error {
	if errors.Is(err, guard.ErrBlockedAddress) {
		return errors.New("its address is not one that Config.Guard admits; add it to AllowNetworks")
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it closed the connection")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it took too long")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// localFault returns the fault of this machine that err is about, or nil.
func localFault(err error) *SenderError {
	if fault, ok := errors.AsType[*SenderError](err); ok {
		return fault
	}
	if local := guard.LocalFault(err); local != nil {
		return &SenderError{Kind: local.Kind, Text: local.Text, cause: local.Err}
	}
	return nil
}

// senderFault returns the failure of the sender's side that err is about, or nil when
// the receiver may have a part in it.
func (f *flight) senderFault(err error) *SenderError {
	if f.connected.Load() {
		return nil // something may have been sent
	}
	if f.timedOut() {
		return f.proxy.Load().fault()
	}
	if fault := localFault(err); fault != nil {
		return fault
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return nil
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); f.systemRoots.Load() && (unknown || isSystemRoots(err)) && rootless() {
		return &SenderError{Kind: "machine", Text: "this machine has no root certificates, so that it trusts no receiver: install them (ca-certificates)", cause: err}
	}
	// A transport of the host's that uses a proxy.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		return &SenderError{Kind: "proxy", Text: "the http.Client's proxy cannot be reached: " + reasonOf(op.Err).Error(), cause: err}
	}
	if f.proxied && f.request.URL.Scheme == "https" && !f.shaking.Load() && isPlain(err) {
		return &SenderError{Kind: "proxy", Text: "the http.Client's proxy refused to connect: " + printable(err.Error(), keptError), cause: err}
	}
	return nil
}

func isSystemRoots(err error) bool {
	_, ok := errors.AsType[x509.SystemRootsError](err)
	return ok
}

// isPlain reports whether err is not about a socket, a look-up or a context.
// net/http returns such an error for the status of a proxy that refuses, and for a
// connection that the proxy closes.
func isPlain(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return !isNet && !errors.Is(err, guard.ErrBlockedAddress) && !errors.Is(err, errNoResponse) && !errors.Is(err, errTooManyDials) &&
		!errors.Is(err, context.Canceled)
}
