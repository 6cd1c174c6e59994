package post

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const oldTLS = "the receiver offers no TLS version from 1.2 on"

// watchHandshake makes a handshake note the facts that explain its failure: whether
// the receiver sent any byte, and whether it asked for a client certificate. The
// handshake has to use the returned connection.
func (f *flight) watchHandshake(cfg *tls.Config, conn net.Conn) net.Conn {
	heard := &heardConn{Conn: conn}
	f.shake.Store(heard)
	f.systemRoots.Store(cfg.RootCAs == nil && !cfg.InsecureSkipVerify)
	if cfg.GetClientCertificate == nil && len(cfg.Certificates) == 0 {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			heard.certAsked.Store(true)      // not in f, which a connection would keep
			return new(tls.Certificate), nil // no certificate, which some servers accept
		}
	}
	return heard
}

// certAsked reports whether the receiver asked for a client certificate.
func (f *flight) certAsked() bool {
	conn := f.shake.Load()
	return conn != nil && conn.certAsked.Load()
}

// A heardConn knows whether anything came back, and a handshake notes in it whether
// a client certificate was asked for.
type heardConn struct {
	net.Conn
	heard, certAsked atomic.Bool
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	return n, err
}

const (
	noClientCert = "the receiver asks for a client certificate, and the sender has none: let the path of the webhook be reached without one"
	// unheard are the causes of a handshake in which no byte came back. A
	// ClientHello with a post-quantum key share takes two packets.
	unheard = "the receiver accepted the connection and said nothing after the ClientHello, which is larger than one packet (1,500 bytes) as it has a " +
		"post-quantum key share: a firewall or load balancer that drops such a one needs an update, or the port is not one for TLS"
)

// handshakeStage says for a time-out how far the handshake had got.
func (f *flight) handshakeStage() string {
	switch conn := f.shake.Load(); {
	case conn == nil:
		return ""
	case conn.heard.Load():
		return ", in the TLS handshake"
	default:
		return ", in the TLS handshake: " + unheard
	}
}

// handshakeHint says why a connection may have been closed during the handshake.
func (f *flight) handshakeHint() string {
	conn := f.shake.Load()
	switch {
	case f.certAsked():
		return ": " + noClientCert
	case conn == nil || conn.heard.Load():
		return ""
	default:
		return ": " + unheard
	}
}

// tlsText explains a failure of TLS, and returns "" for other errors. Of the
// certificate it repeats only the days of validity: the peer chooses the rest.
func (f *flight) tlsText(err error) string {
	if text := certificateText(err); text != "" {
		return text
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		text := "the receiver does not speak TLS on this port"
		switch string(record.RecordHeader[:]) {
		case "HTTP/":
			text += ", it answers in plain HTTP: use the port that serves https"
		case "SSH-2", "SSH-1":
			text += ", it is an SSH server"
		}
		return text
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok { // over QUIC only
		return f.alertText(strings.TrimPrefix(alert.Error(), "tls: "))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		said := strings.TrimPrefix(op.Err.Error(), "tls: ")
		switch op.Op {
		case "remote error":
			return f.alertText(said)
		case "local error":
			if said == "protocol version not supported" {
				return oldTLS
			}
			return "the TLS handshake failed, as what the receiver sent is not valid: " + said
		}
	}
	// The rest of crypto/tls's errors are texts only; those of net.Conn that
	// come through a handshake have an errno, or are an EOF.
	for e := err; e != nil; e = errors.Unwrap(e) {
		text := e.Error()
		if strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "x509: ") {
			return brokenTLSText(text)
		}
	}
	return ""
}

// brokenTLSText explains an error of crypto/tls about a message of the receiver.
func brokenTLSText(text string) string {
	for _, row := range [...]struct{ says, means string }{
		{"unsupported protocol version", oldTLS},
		{"negative serial number", "the certificate's serial number is negative, which no certificate may have: have it issued again"},
		{"-bit keys are insecure", "the certificate's RSA key is too short: use one of 2,048 bits or more"},
		{"RSA key larger than", "the certificate's RSA key is too long: use one of 8,192 bits or less"},
		{"unsupported elliptic curve", "the certificate's key is on a curve that is not accepted: use P-256, P-384, P-521, or RSA"},
		{"unsupported type of public key", "the certificate's key is of a kind that is not accepted: use RSA of 2,048 bits or more, or ECDSA on P-256 or P-384"},
		{"failed to parse certificate", "the certificate cannot be read: it is malformed"},
		{"invalid signature by the server certificate", "the receiver cannot show that it has the key of its certificate: certificate and key do not belong together"},
		{"invalid signature algorithm", noSharedTLS("offers a signature algorithm that is not accepted, such as one with SHA-1")},
		{"unconfigured cipher suite", noSharedTLS("chose a cipher suite that was not offered")},
		{"downgrade attempt", "the receiver, or something before it, talked TLS down to an older version than both can speak"},
		{"ALPN", "the receiver chose a protocol that was not offered to it (ALPN): HTTP/1.1 or HTTP/2 is wanted"},
	} {
		if strings.Contains(text, row.says) {
			return row.means
		}
	}
	return "the TLS handshake failed, as what the receiver sent is not valid TLS"
}

// noSharedTLS names the settings that a receiver must offer when it shares no TLS
// version, cipher or group with this side.
func noSharedTLS(what string) string {
	return "the receiver " + what + ". It has to offer TLS 1.2 or 1.3 with ECDHE over X25519, P-256, P-384 or P-521, AES-GCM or ChaCha20-Poly1305, " +
		"and a certificate with an RSA key of 2,048 bits or more or ECDSA on P-256 or P-384: RSA key exchange, DHE, 3DES, X448 and SHA-1 are not accepted"
}

// alertText explains an alert of the receiver's, in the words of crypto/tls.
func (f *flight) alertText(alert string) string {
	if f.certAsked() && slices.Contains([]string{"handshake failure", "bad certificate", "certificate required", "access denied", "unknown certificate", "certificate unknown"}, alert) {
		return noClientCert + ` (alert "` + alert + `")`
	}
	said := `the receiver refused the TLS handshake with the alert "` + alert + `"`
	switch alert {
	case "protocol version not supported":
		return oldTLS
	case "handshake failure", "insufficient security level":
		return said + ": " + strings.TrimPrefix(noSharedTLS("it has no cipher suite, key exchange or signature algorithm in common with the sender"), "the receiver ")
	case "certificate required":
		return noClientCert + ` (alert "` + alert + `")`
	case "internal error":
		return said + ": something failed in the receiver's server, look into its log"
	case "unrecognized name":
		return said + ": its server has no site, or no certificate, for the host of the webhook's URL"
	case "no application protocol":
		return said + ": its server speaks neither HTTP/1.1 nor HTTP/2 on this port"
	case "access denied":
		return said + ": its server, or a firewall before it, does not let the sender in"
	case "close notify", "user canceled":
		return said + ", without saying why"
	}
	return said + ": its server's log may say more"
}

// isTLSRecord reports whether a receiver of plain HTTP answered with a TLS alert.
func isTLSRecord(err error) bool {
	text := err.Error()
	return strings.Contains(text, `\x15\x03`) || strings.Contains(text, "\x15\x03")
}

// statusHint explains answers by which servers say that TLS is not as they want it.
func (f *flight) statusHint(status int, body []byte) string {
	switch {
	case status == http.StatusBadRequest && f.request.URL.Scheme == "http" && containsAny(body, "HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled"):
		return "; it speaks TLS on this port: use an https URL"
	case f.certAsked() && slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, 495, 496}, status): // the last two are nginx's
		return "; it asked for a client certificate, and the sender has none"
	}
	return ""
}

func containsAny(body []byte, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(body, []byte(w)) })
}

// certificateText explains why a certificate was refused, and returns "" for other
// errors.
func certificateText(err error) string {
	var chain []*x509.Certificate
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		chain = refused.UnverifiedCertificates
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return hostnameText(&host)
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if len(chain) == 0 && unknown.Cert != nil {
			chain = []*x509.Certificate{unknown.Cert}
		}
		return authorityText(chain)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalidText(&invalid)
	}
	if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
		return "the certificate is not valid: it has a critical extension that is not understood"
	}
	if _, ok := errors.AsType[x509.InsecureAlgorithmError](err); ok {
		return weakSignature
	}
	if chain != nil {
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is not valid"
	}
	return ""
}

func hostnameText(err *x509.HostnameError) string {
	text := "the certificate is not valid for the webhook's host"
	c := err.Certificate
	switch {
	case c == nil:
	case len(c.DNSNames) == 0 && len(c.IPAddresses) == 0:
		return text + ": it names no host as a subject alternative name (SAN); a common name (CN) alone does not count any more"
	case net.ParseIP(err.Host) != nil && len(c.IPAddresses) == 0:
		return text + ": the URL has an IP address, and the certificate is for names; use a name of it in the URL"
	default:
		return text + ": it is for other names; perhaps the server shows the certificate of another site"
	}
	return text
}

func invalidText(err *x509.CertificateInvalidError) string {
	text, c := "the certificate is not valid", err.Cert
	switch err.Reason {
	case x509.Expired:
		text = "the certificate has expired or is not yet valid"
		switch {
		case c == nil:
			return text
		case c.IsCA:
			text += " (not the server's own, but one of those that it sends along with it)"
		}
		if c.NotAfter.Before(time.Now()) {
			return text + ": it was valid until " + c.NotAfter.UTC().Format(time.DateOnly) + ", renew it"
		}
		return text + ": it is valid from " + c.NotBefore.UTC().Format(time.DateOnly) + " on"
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
		return text + ": it is not for servers (extended key usage)"
	case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs, x509.UnconstrainedName:
		return text + ": an authority in its chain may not sign for this name (name constraints)"
	case x509.NotAuthorizedToSign:
		return text + ": it is signed by one that is no authority's"
	case x509.TooManyIntermediates:
		return text + ": its chain is longer than an authority in it allows (path length)"
	}
	return text
}

const weakSignature = "the certificate, or an intermediate one, is signed with SHA-1 or MD5, which is not accepted any more: have it issued again with SHA-256"

// authorityText explains why no chain leads from the certificates that were sent to
// an authority that is known. x509 says no more than that.
func authorityText(chain []*x509.Certificate) string {
	const text = "the certificate is not signed by a known authority"
	if len(chain) == 0 {
		return text
	}
	top := chain[0]
	for range chain { // up, as far as issuers were sent
		if selfSigned(top) {
			break
		}
		if weak(top.SignatureAlgorithm) {
			return weakSignature
		}
		i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c != top && issued(c, top) })
		if i < 0 {
			break
		}
		if !chain[i].IsCA {
			return text + ": it is signed by a certificate that is no authority's"
		}
		top = chain[i]
	}
	switch {
	case top == chain[0] && selfSigned(top):
		return text + ": it is self-signed"
	case selfSigned(top):
		return text + ": its authority is a private one"
	case top == chain[0] && len(top.IssuingCertificateURL) > 0:
		return text + ": the server does not send the intermediate certificate (browsers fetch it, servers do not); have it send the full chain"
	case top == chain[0]:
		return text + ": the server does not send the intermediate certificate that it is signed by, or its authority is a private one; have it send the full chain"
	}
	return text + ": the authority at the end of the chain is a private one, or a further intermediate certificate is missing"
}

// issued reports whether one certificate names the other as its issuer.
func issued(issuer, c *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) &&
		(len(c.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId))
}

// selfSigned reports whether a certificate is signed with its own key. A weak
// signature cannot be checked; then the names of subject and issuer decide.
func selfSigned(c *x509.Certificate) bool {
	if !issued(c, c) {
		return false
	}
	err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	return err == nil || insecure
}

func weak(a x509.SignatureAlgorithm) bool {
	return slices.Contains([]x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}, a)
}

// rootless reports whether this machine has no root certificates at all, so that it
// would take every certificate for one of an unknown authority.
var rootless = sync.OnceValue(func() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || pool.Equal(x509.NewCertPool())
})
