package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
)

// keptError is how much of a receiver's malformed answer is quoted.
const keptError = 200

// explain returns the class of the error that ended an attempt without an
// answer, and a text that its tenant may see.
//
// The text is never that of a *url.Error, *net.OpError or *net.DNSError: they
// hold the URL with its path and query, the addresses of both ends, the name
// server. Most texts are fixed. Where the receiver's own bytes tell what is
// wrong with its answer they are masked, made printable and cut.
//
// A tenant who points webhooks at private addresses learns nothing from this
// about the network inside: "blocked" comes before a packet is sent, for every
// such address alike and at once, whether anything listens there or not.
// Refused, reset and timed out are told apart for public addresses, which
// anyone can probe, and for those that the host allowed.
func (f *flight) explain(err error) (ErrorClass, string) {
	var wrapped *url.Error
	for errors.As(err, &wrapped) { // a transport of the host's may be built on a client
		err = wrapped.Err
	}
	handshake := isHandshake(err)
	switch {
	case errors.Is(err, ErrBlockedAddress):
		return ClassBlocked, "the address is not one that may be dialed"
	case f.timedOut(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
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
	if text := tlsText(err); text != "" {
		return ClassTLS, text
	}
	if text := brokenText(err); text != "" {
		if handshake {
			text += " during the TLS handshake"
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
	default:
		return ClassProtocol, "the answer is not valid HTTP: " + f.quoted(err)
	}
}

// timeoutText says how far the attempt got.
func (f *flight) timeoutText() string {
	stage := "waiting for the answer"
	switch {
	case !f.connected.Load():
		stage = "connecting"
	case !f.written.Load():
		stage = "sending the request"
	}
	return fmt.Sprintf("timed out after %s while %s", min(f.timeout, time.Since(f.deadline.Add(-f.timeout))).Round(time.Millisecond), stage)
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

const oldTLS = "the receiver offers no TLS version from 1.2 on"

// tlsText explains what TLS refused, and is empty when it was not TLS. Nothing
// out of the certificate is repeated: it is the peer's to choose.
func tlsText(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is not valid for the webhook's host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is not signed by a known authority"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "the certificate has expired or is not yet valid"
		}
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the receiver does not speak TLS on this port"
	}
	if strings.Contains(err.Error(), "protocol version not supported") {
		return oldTLS
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return "the receiver refused the TLS handshake: " + strings.TrimPrefix(alert.Error(), "tls: ")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return "the TLS handshake failed: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	// The rest of crypto/tls's errors are texts only; those of net.Conn that
	// come through a handshake have an errno, or are an EOF.
	for e := err; e != nil; e = errors.Unwrap(e) {
		text := e.Error()
		if strings.Contains(text, "unsupported protocol version") {
			return oldTLS
		}
		if strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "x509: ") {
			return "the TLS handshake failed"
		}
	}
	return ""
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
		strings.HasPrefix(err.Error(), "readLoopPeekFailLocked: "), // likewise, with bytes that nobody asked for
		strings.HasSuffix(err.Error(), "http2: client connection lost"),
		strings.HasSuffix(err.Error(), "http2: client connection force closed via ClientConn.Close"):
		return "the connection was closed"
	default:
		return ""
	}
}

// quoted is the text of an error about what a receiver sent.
func (f *flight) quoted(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the addresses
	}
	text := strings.TrimPrefix(err.Error(), "net/http: ")
	text = strings.TrimPrefix(text, "HTTP/1.x transport connection broken: ")
	if at := strings.IndexByte(text, '"'); at >= 0 {
		// What the receiver sent, as net/http quotes it: secrets are looked for in
		// the bytes, and one that broke off before the closing quote is still one.
		if raw, err := strconv.Unquote(text[at:]); err == nil {
			text = text[:at+1] + raw
		}
	}
	m := masker{header: f.request.header, url: f.request.url, path: true}
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
