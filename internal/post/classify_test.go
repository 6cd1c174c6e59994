package post

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed68722ecd/webhook/guard"
	"github.com/seed68722ecd/webhook/internal/nettest"
)

// failing makes an attempt whose transport returns err.
func failing(t *testing.T, err error) Answer {
	t.Helper()
	s := hostSender(t, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, err })})
	return attempt(t, s, post(t, "https://receiver.test/"))
}

func TestClassOfErrors(t *testing.T) {
	t.Parallel()
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IP{10, 9, 8, 7}, Port: 443}, Err: err}
	}
	for _, row := range []struct {
		err   error
		class Class
		text  string
	}{
		{dial(fmt.Errorf("x: %w", guard.ErrBlockedAddress)), ClassBlocked, "the address is not one that may be dialed"},
		{dial(&net.DNSError{Name: "receiver.test", Server: "10.9.8.7:53", IsNotFound: true}), ClassDNS, "does not exist"},
		{dial(&net.DNSError{Name: "receiver.test", Server: "10.9.8.7:53", IsTimeout: true}), ClassDNS, "timed out"},
		{dial(&net.DNSError{Name: "receiver.test", Server: "10.9.8.7:53", Err: "server misbehaving"}), ClassDNS, "failed"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), ClassConnect, "refused"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), ClassConnect, "cannot be reached"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), ClassConnect, "cannot be reached"},
		{dial(os.NewSyscallError("socket", syscall.EMFILE)), ClassUnsent, "the sender could not send"},
		{dial(os.ErrDeadlineExceeded), ClassTimeout, "while connecting"},
		{dial(errors.New("odd")), ClassConnect, "no connection: odd"},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("odd")}, ClassUnsent, "the sender could not send"},
		{context.DeadlineExceeded, ClassTimeout, ""},
		{&url.Error{Op: "Post", URL: "https://user:pw@receiver.test/path?token=q", Err: &url.Error{Op: "Post", URL: "https://x/path", Err: io.EOF}}, ClassConnect, "closed"},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, ClassConnect, "closed"},
		{&net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}, ClassConnect, "closed"},
		{io.ErrUnexpectedEOF, ClassConnect, "closed"},
		{net.ErrClosed, ClassConnect, "closed"},
		{errors.New("http2: client connection lost"), ClassConnect, "closed"},
		{fmt.Errorf("readLoopPeekFailLocked: %w", error(nil)), ClassConnect, "closed"},
		{&handshakeError{io.EOF}, ClassConnect, "closed during the TLS handshake"},
		{&handshakeError{errors.New("odd")}, ClassTLS, "the TLS handshake failed"},
		{&handshakeError{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}}, ClassTLS, "handshake failure"},
		{&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, ClassTLS, "bad record MAC"},
		{errors.New("tls: oversized record received with length 20527"), ClassTLS, "the TLS handshake failed"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, ClassTLS, "does not speak TLS"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, ClassTLS, "known authority"},
		{&tls.CertificateVerificationError{Err: errors.New("odd")}, ClassTLS, "the certificate is not valid"},
		{x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}, ClassTLS, "the certificate is not valid"},
		{errTooManyDials, ClassProtocol, "takes no request"},
	} {
		a := failing(t, row.err)
		wantClass(t, a, row.class, row.text)
		wantNothingPrivate(t, a)
	}
}

var addressPattern = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|::|\[[0-9a-f:]+\]`)

// wantNothingPrivate fails the test when the text that a tenant sees holds an
// address, the URL or a value of a header.
func wantNothingPrivate(t *testing.T, a Answer) {
	t.Helper()
	for _, never := range []string{"127.", "10.9", "/path", "token", "user", "pw@", "5ec2e7", "c2lnbmF0", "custom-header"} {
		if strings.Contains(a.Error, never) {
			t.Errorf("error %q holds %q", a.Error, never)
		}
	}
	if found := addressPattern.FindString(a.Error); found != "" {
		t.Errorf("error %q holds an address", a.Error)
	}
	wantPrintable(t, a.Error)
}

// Every private address gives the same answer, at once, whether somebody
// listens there or not: a tenant cannot map the network with webhooks.
func TestS23_PrivateTargetsCannotBeToldApart(t *testing.T) {
	t.Parallel()
	listening := nettest.NewCanary(t, "127.0.0.1:0")
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	judge := &guard.Guard{Resolver: (&nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.1")} }}).Resolver()}
	s := newTestSender(t, transportConfig{guard: judge})
	var first Answer
	for _, host := range []string{listening.Addr().String(), closed.Addr().String(), "10.255.255.1:443", "169.254.169.254", "[::1]:1", "[fd00:ec2::254]", "internal.test"} {
		for _, scheme := range []string{"http", "https"} {
			a := attempt(t, s, post(t, scheme+"://"+host+"/"))
			a.Duration = 0
			if first.Error == "" {
				first = a
			}
			if a.Class != ClassBlocked || a.Error != first.Error {
				t.Errorf("%s: class %q, error %q; want what every other gives", host, a.Class, a.Error)
			}
		}
	}
	listening.Silent(t)
}

func TestS23_R15_ErrorsNameNoAddressAndNoURL(t *testing.T) {
	t.Parallel()
	refused, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	judge := loopback()
	judge.Resolver = (&nettest.NameServer{}).Resolver() // knows no name
	s := newTestSender(t, transportConfig{guard: judge})
	garbage := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		// What is wrong with the answer is what was asked.
		conn.Write(p.readRequest(bufio.NewReader(conn)))
	})
	for name, row := range map[string]struct {
		host  string
		class Class
	}{
		"refused":     {refused.Addr().String(), ClassConnect},
		"no TLS":      {newPeer(t, answerOnce("")).Addr().String(), ClassConnect},
		"silent":      {newPeer(t, hold).Addr().String(), ClassTimeout},
		"reset":       {newPeer(t, func(_ *peer, _ int64, c net.Conn) { c.Read(make([]byte, 1)); c.(*net.TCPConn).SetLinger(0) }).Addr().String(), ClassConnect},
		"echo":        {garbage.Addr().String(), ClassProtocol},
		"redirect":    {newPeer(t, answerOnce("HTTP/1.1 302 127.0.0.1\r\nLocation: http://127.0.0.1/path?token=q\r\n\r\n")).Addr().String(), ClassStatus},
		"no such":     {"nowhere.test", ClassDNS},
		"blocked":     {"10.9.8.7", ClassBlocked},
		"blocked six": {"[fd00::1]", ClassBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := post(t, "http://"+row.host+"/path/token-in-path?token=query")
			r.URL.User = url.UserPassword("user", "pw")
			a := attempt(t, s, r.within(stallTimeout))
			wantClass(t, a, row.class, "")
			wantNothingPrivate(t, a)
		})
	}
}

// R16 as far as an attempt goes: what it is given is all that it sends, and a
// user name in a URL is not turned into a header.
func TestR16_NothingIsAddedToTheRequest(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 1)
	p := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		got <- p.readRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	r := post(t, p.url)
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	r.URL.User = url.UserPassword("user", secret)
	wantStatus(t, attempt(t, newTestSender(t, transportConfig{}), r), 204)
	wire := string(<-got)
	reversed := []byte(secret)
	slices.Reverse(reversed)
	for _, form := range []string{
		secret, strings.TrimPrefix(secret, "whsec_"), hex.EncodeToString([]byte(secret)), url.QueryEscape(secret), string(reversed),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte("user:" + secret)), "Authorization",
	} {
		if strings.Contains(wire, form) {
			t.Errorf("the request holds %q:\n%s", form, wire)
		}
	}
}
