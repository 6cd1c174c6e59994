package post

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What internal/hostile shows with servers of other makes, as far as crypto/tls can
// be such a server. The alert is the receiver's, and the text says so.
func TestTLSAlertsAreTheReceivers(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := []tls.Certificate{ca.issue(t, "receiver.test", nil)}
	for name, row := range map[string]struct {
		cfg  *tls.Config
		text string
	}{
		"internal error":    {&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("x") }}, `the receiver refused the TLS handshake with the alert "internal error"`},
		"RSA key exchange":  {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, "RSA key exchange, DHE, 3DES"},
		"no certificate":    {&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, `the receiver refused`},
		"no protocol":       {&tls.Config{NextProtos: []string{"spdy/3"}}, "speaks neither HTTP/1.1 nor HTTP/2"},
		"client's, TLS 1.2": {&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}, "asks for a client certificate"},
		"client's, TLS 1.3": {&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, "asks for a client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if row.cfg.Certificates = cert; name == "no certificate" {
				row.cfg.Certificates = nil
			}
			row.cfg.Certificates = append([]tls.Certificate(nil), row.cfg.Certificates...)
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			servePeer(t, ln, "", func(_ *peer, _ int64, conn net.Conn) {
				secure := tls.Server(conn, row.cfg)
				if secure.Handshake() == nil {
					bufio.NewReader(secure).ReadString(0)
				}
			})
			r, s := tlsPeer(t, &tls.Config{Certificates: cert}, ca.pool) // its sender knows the name
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			r.URL.Host = "receiver.test:" + port
			for _, r := range []*Request{r, unverified(r)} {
				a := attempt(t, s, r)
				wantClass(t, a, ClassTLS, row.text)
				wantNothingPrivate(t, a)
			}
		})
	}
}

// The wrong port, and the wrong scheme.
func TestTLSOnTheWrongPort(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	alert := newPeer(t, func(_ *peer, _ int64, conn net.Conn) {
		bufio.NewReader(conn).ReadString('\n')
		conn.Write([]byte{21, 3, 1, 0, 2, 2, 70})
	})
	for host, row := range map[string]struct {
		class Class
		text  string
	}{
		secure.Listener.Addr().String(): {ClassStatus, "400 Bad Request; it speaks TLS on this port: use an https URL"},
		alert.Addr().String():           {ClassProtocol, "the receiver speaks TLS on this port: use an https URL"},
	} {
		wantClass(t, attempt(t, newTestSender(t, transportConfig{}), post(t, "http://"+host+"/")), row.class, row.text)
	}
	plain := newPeer(t, notTLS)
	wantClass(t, attempt(t, newTestSender(t, transportConfig{}), post(t, "https://"+plain.Addr().String()+"/")), ClassTLS, "answers in plain HTTP: use the port that serves https")
}

// A server that takes the connection without a client certificate, and says no in
// HTTP, as nginx does.
func TestTLSClientCertificateRefusedByStatus(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for ask, want := range map[tls.ClientAuthType]bool{tls.RequestClientCert: true, tls.NoClientCert: false} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, "No required SSL certificate was sent")
		}))
		srv.Config.ErrorLog = quiet
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "receiver.test", nil)}, ClientAuth: ask}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		a := attempt(t, newTestSender(t, transportConfig{}), unverified(post(t, srv.URL)))
		wantClass(t, a, ClassStatus, "400 Bad Request")
		if strings.Contains(a.Error, "asked for a client certificate") != want {
			t.Errorf("the server asks: %v; error %q", want, a.Error)
		}
	}
}

// Nothing comes back: on the wire a large ClientHello that was dropped.
func TestTLSHelloThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	silent, closing := newPeer(t, hold), newPeer(t, func(_ *peer, _ int64, conn net.Conn) { conn.Read(make([]byte, 1)) })
	s := newTestSender(t, transportConfig{})
	wantClass(t, attempt(t, s, post(t, "https://"+silent.Addr().String()+"/").within(slack)), ClassTimeout, "while connecting, in the TLS handshake: the receiver accepted the connection and said nothing after the ClientHello, which is larger than one packet (1,500 bytes)")
	wantClass(t, attempt(t, s, post(t, "https://"+closing.Addr().String()+"/")), ClassConnect, "said nothing after the ClientHello")
	halfway := newPeer(t, func(p *peer, _ int64, conn net.Conn) {
		conn.Read(make([]byte, 4096))
		conn.Write([]byte{22, 3, 3, 1, 0})
		<-p.done
	})
	a := attempt(t, s, post(t, "https://"+halfway.Addr().String()+"/").within(slack))
	wantClass(t, a, ClassTimeout, "while connecting, in the TLS handshake")
	if strings.Contains(a.Error, "said nothing") {
		t.Errorf("error %q; the receiver had said something", a.Error)
	}
}
