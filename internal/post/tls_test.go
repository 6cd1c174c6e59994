package post

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

var quiet = log.New(io.Discard, "", 0)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = makeCert(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.pool.AddCert(a.cert)
	return a
}

func makeCert(t *testing.T, template *x509.Certificate, signer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, parentKey := template, key
	if signer != nil {
		parent, parentKey = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue returns a certificate for a name; change may spoil it.
func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	cert, key := makeCert(t, template, a)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// tlsPeer is a receiver that answers 204 over TLS as cfg wants it, and
// everything a sender needs to reach it under the name receiver.test.
func tlsPeer(t *testing.T, cfg *tls.Config, roots *x509.CertPool) (r *Request, s *Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	srv.Config.ErrorLog = quiet
	srv.TLS = cfg
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	judge := loopback()
	judge.Resolver = (&nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }}).Resolver()
	return post(t, "https://receiver.test:"+port+"/hook"), newTestSender(t, transportConfig{guard: judge, rootCAs: roots})
}

func unverified(r *Request) *Request {
	c := *r
	c.VerifyTLS = false
	return &c
}

func TestR13_CertificatesThatAreRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, row := range []struct {
		name string
		cert tls.Certificate
		text string // empty: it is accepted
	}{
		{"good", ca.issue(t, "receiver.test", nil), ""},
		{"expired", ca.issue(t, "receiver.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), "expired or is not yet valid"},
		{"not yet valid", ca.issue(t, "receiver.test", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "expired or is not yet valid"},
		{"another host", ca.issue(t, "evil-other-name.test", nil), "not valid for the webhook's host"},
		{"the address that was dialed", ca.issue(t, "127.0.0.1", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{{127, 0, 0, 1}} }), "not valid for the webhook's host"},
		{"unknown authority", newAuthority(t).issue(t, "receiver.test", nil), "not signed by a known authority"},
		{"for clients only", ca.issue(t, "receiver.test", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "the certificate is not valid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, s := tlsPeer(t, &tls.Config{Certificates: []tls.Certificate{row.cert}}, ca.pool)
			a := attempt(t, s, r)
			if row.text == "" {
				wantStatus(t, a, 204)
			} else {
				wantClass(t, a, ClassTLS, row.text)
				if strings.Contains(a.Error, "evil") || strings.Contains(a.Error, "127.0.0.1") {
					t.Errorf("error %q holds what is in the certificate", a.Error)
				}
			}
			wantStatus(t, attempt(t, s, unverified(r)), 204)
			// What was accepted without verification changes nothing for the rest.
			if again := attempt(t, s, r); again.Class != a.Class {
				t.Errorf("class %q after an attempt without verification, %q before", again.Class, a.Class)
			}
		})
	}
}

func TestR13_OldProtocolVersionsAreRefusedEitherWay(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, version := range map[string]uint16{"TLS 1.0": tls.VersionTLS10, "TLS 1.1": tls.VersionTLS11} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "receiver.test", nil)}, MinVersion: tls.VersionTLS10, MaxVersion: version}
			r, s := tlsPeer(t, cfg, ca.pool)
			for _, r := range []*Request{r, unverified(r)} {
				wantClass(t, attempt(t, s, r), ClassTLS, "no TLS version from 1.2 on")
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		t.Parallel()
		cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "receiver.test", nil)}, MaxVersion: tls.VersionTLS12}
		r, s := tlsPeer(t, cfg, ca.pool)
		wantStatus(t, attempt(t, s, r), 204)
	})
}

// Also with a client of the host's, whose settings are cloned.
func TestR14_VerificationOnAndOffShareNothing(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r, own := tlsPeer(t, &tls.Config{Certificates: []tls.Certificate{stranger.issue(t, "receiver.test", nil)}, MaxVersion: version}, ca.pool)
		cache := tls.NewLRUClientSessionCache(10)
		tr := newTransport(transportConfig{})
		tr.DialTLSContext = nil
		tr.DialContext = own.verified.transport.(*http.Transport).DialContext
		tr.TLSClientConfig = &tls.Config{RootCAs: ca.pool, ClientSessionCache: cache}
		for name, s := range map[string]*Client{"own client": own, "host's client": hostSender(t, &http.Client{Transport: tr})} {
			for range 3 { // A with verification off succeeds, B with it on still fails, A is flipped to on
				wantStatus(t, attempt(t, s, unverified(r)), 204)
				a := attempt(t, s, r)
				wantClass(t, a, ClassTLS, "not signed by a known authority")
				if t.Failed() {
					t.Fatalf("with the %s, TLS %#x", name, version)
				}
			}
		}
	}
}

func TestR14_TransportsShareNoState(t *testing.T) {
	t.Parallel()
	c := newClients(transportConfig{}, nil)
	on, off := c.verified.Transport.(*http.Transport), c.unverified.Transport.(*http.Transport)
	if on == off || on.TLSClientConfig == off.TLSClientConfig || on.TLSClientConfig.ClientSessionCache == off.TLSClientConfig.ClientSessionCache {
		t.Error("the transports share a configuration or a session cache")
	}
	if on.TLSClientConfig.InsecureSkipVerify || !off.TLSClientConfig.InsecureSkipVerify {
		t.Error("verification is not as asked for")
	}
	for _, tr := range []*http.Transport{on, off} {
		if tr.TLSClientConfig.MinVersion != tls.VersionTLS12 {
			t.Errorf("oldest version %#x", tr.TLSClientConfig.MinVersion)
		}
	}
	host := &http.Transport{TLSClientConfig: &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
	clone := newClients(transportConfig{}, &http.Client{Transport: host}).unverified.Transport.(*http.Transport)
	if clone == host || clone.TLSClientConfig.ClientSessionCache != nil || host.TLSClientConfig.InsecureSkipVerify || !clone.TLSClientConfig.InsecureSkipVerify {
		t.Error("the clone of a host's transport shares state with it")
	}
}

// Catalogue 3, 5–7: what is at the port instead of a TLS receiver.
func TestCatalogue7_PeersThatDoNotSpeakTLS(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		handle func(*peer, int64, net.Conn)
		class  Class
		text   string
	}{
		"plain HTTP": {func(_ *peer, _ int64, conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			bufio.NewReader(conn).ReadString(0)
		}, ClassTLS, "does not speak TLS"},
		"SSH banner": {func(_ *peer, _ int64, conn net.Conn) {
			io.WriteString(conn, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
			bufio.NewReader(conn).ReadString(0)
		}, ClassTLS, "does not speak TLS"},
		"SMTP banner": {func(_ *peer, _ int64, conn net.Conn) {
			io.WriteString(conn, "220 mail.example.com ESMTP Postfix\r\n")
			bufio.NewReader(conn).ReadString(0)
		}, ClassTLS, "does not speak TLS"},
		"alert": {func(_ *peer, _ int64, conn net.Conn) {
			conn.Read(make([]byte, 4096))
			conn.Write([]byte{21, 3, 3, 0, 2, 2, 40})
			bufio.NewReader(conn).ReadString(0)
		}, ClassTLS, "handshake failure"},
		"close": {func(_ *peer, _ int64, conn net.Conn) {
			conn.Read(make([]byte, 4096))
		}, ClassConnect, "closed during the TLS handshake"},
		"reset": {func(_ *peer, _ int64, conn net.Conn) {
			conn.Read(make([]byte, 4096))
			conn.(*net.TCPConn).SetLinger(0)
		}, ClassConnect, "closed during the TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, row.handle)
			wantClass(t, attempt(t, newTestSender(t, transportConfig{}), post(t, "https://"+p.Addr().String())), row.class, row.text)
		})
	}
	t.Run("asks for a client certificate", func(t *testing.T) {
		t.Parallel()
		ca := newAuthority(t)
		for auth, status := range map[tls.ClientAuthType]int{tls.RequestClientCert: 204, tls.RequireAnyClientCert: 0} {
			r, s := tlsPeer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "receiver.test", nil)}, ClientAuth: auth}, ca.pool)
			a := attempt(t, s, r)
			wantStatus(t, a, status)
			if status == 0 {
				wantClass(t, a, ClassTLS, "certificate required")
			}
		}
	})
}
