package post

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook/guard"
)

// keptError is how much of a receiver's malformed answer is quoted.
const keptError = 200

// explain returns the class of the error that ended an attempt without an
// answer, and a text that its tenant may see.
//
// The text is never that of a *url.Error, *net.OpError or *net.DNSError: they
// hold the URL with its path and query, the addresses of both ends, the name
// server. Most texts are fixed. Where the receiver's own bytes show the fault of its
// answer, they are masked, made printable and cut.
//
// A tenant who points webhooks at private addresses does not learn from the texts
// about the network inside: "blocked" comes before a packet is sent, at once and for
// every such address alike, whether a server listens there or not. Refused, reset
// and timed out are told apart for public addresses, which anyone can probe, and for
// addresses that the host allowed.
func (f *flight) explain(err error) (Class, string) {
	var wrapped *url.Error
	for errors.As(err, &wrapped) { // a transport of the host's may be built on a client
		err = wrapped.Err
	}
	handshake := isHandshake(err)
	switch {
	case errors.Is(err, guard.ErrBlockedAddress):
		return ClassBlocked, "the address is not one that may be dialed"
	case f.timedOut(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		if text := f.lookupText(); text != "" {
			return ClassDNS, text
		}
		return ClassTimeout, f.timeoutText()
	case errors.Is(err, errNoResponse):
		return ClassInternal, errNoResponse.Error()
	case errors.Is(err, errTooManyDials):
		return ClassProtocol, errTooManyDials.Error()
	}
	if said, ok := errors.AsType[*receiverError](err); ok {
		return said.class, said.text
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return ClassDNS, dnsText(dns)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		// A bound of the host's own: a Guard's, or one of its client's.
		return ClassTimeout, f.timeoutText()
	}
	if class, text := f.h2Text(err); text != "" {
		return class, text
	}
	if text := f.tlsText(err); text != "" {
		return ClassTLS, text
	}
	if text := brokenText(err); text != "" {
		if handshake {
			text += " during the TLS handshake" + f.handshakeHint()
		} else if f.connected.Load() {
			text += " before there was an answer"
		}
		return ClassConnect, text
	}
	switch {
	case handshake:
		return ClassTLS, "the TLS handshake failed"
	case !f.connected.Load():
		return ClassConnect, "no connection: " + f.quoted(err)
	case f.request.URL.Scheme == "http" && isTLSRecord(err):
		return ClassProtocol, "the receiver speaks TLS on this port: use an https URL"
	default:
		return ClassProtocol, "the answer is not valid HTTP: " + f.quoted(err)
	}
}

// timeoutText says how far the attempt got.
func (f *flight) timeoutText() string {
	stage := "waiting for the answer"
	switch {
	case f.turns.waits.Load() > 0:
		stage = fewStreamsText(f.turns.waits.Load() - 1)
	case f.turns.settles.Load():
		stage = "waiting for the receiver's HTTP/2 settings"
	case !f.connected.Load():
		stage = "connecting" + f.handshakeStage()
	case !f.written.Load():
		stage = "sending the request"
	}
	return fmt.Sprintf("timed out after %s while %s", f.elapsed(), stage)
}

// elapsed is how much of its time an attempt has had.
func (f *flight) elapsed() time.Duration {
	return min(f.timeout, time.Since(f.deadline.Add(-f.timeout))).Round(time.Millisecond)
}

func dnsText(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "the host name does not exist, or has no address"
	case err.IsTimeout:
		return "the look-up of the host name timed out"
	default:
		return "the look-up of the host name failed"
	}
}

func isHandshake(err error) bool {
	_, ok := errors.AsType[*handshakeError](err)
	return ok
}

// brokenText explains a connection that was not made or did not last, and is
// empty when the error is about something else.
func brokenText(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		switch errno {
		case syscall.ECONNREFUSED:
			return "the connection was refused"
		case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
			return "the connection was closed"
		case syscall.EHOSTUNREACH, syscall.ENETUNREACH:
			return "the host cannot be reached"
		default:
			return "the connection failed: " + errno.Error()
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "the connection was closed"
	case strings.HasSuffix(err.Error(), "http: server closed idle connection"), // a second one, after a resend
		strings.HasPrefix(err.Error(), "readLoopPeekFailLocked: "), // likewise, with unsolicited bytes
		strings.HasSuffix(err.Error(), "http2: client connection lost"),
		strings.HasSuffix(err.Error(), "http2: client connection force closed via ClientConn.Close"):
		return "the connection was closed"
	default:
		return ""
	}
}

// quoted returns the text of an error about the bytes of a receiver.
func (f *flight) quoted(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the addresses
	}
	text := strings.TrimPrefix(err.Error(), "net/http: ")
	text = strings.TrimPrefix(text, "HTTP/1.x transport connection broken: ")
	if at := strings.IndexByte(text, '"'); at >= 0 {
		// The receiver's bytes, as net/http quotes them. Secrets are looked for in
		// the bytes; a secret that is cut before the closing quote is masked too.
		if raw, err := strconv.Unquote(text[at:]); err == nil {
			text = text[:at+1] + raw
		}
	}
	m := masker{header: f.request.Header, url: f.request.URL, path: true}
	return printable(m.maskString(text), keptError)
}

// statusText explains a status that is not a success, and where a redirect
// points: see redirectTarget.
func statusText(status int, target string, from *url.URL) string {
	name := http.StatusText(status)
	if name != "" {
		name = " " + name
	}
	text := fmt.Sprintf("the receiver answered %03d%s", status, name)
	switch {
	case status >= 300 && status <= 399:
		text += redirectText(target, from)
	case status < 200:
		text += ", which is not an answer to a delivery"
	}
	return text
}
