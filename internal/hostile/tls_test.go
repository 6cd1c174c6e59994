package hostile

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func init() { otherRoles["tls"] = deliverTLS }

// A tlsTarget is what a process of the role "tls" is asked to deliver to, and what
// came of it: an attempt with verification, and one without.
type tlsTarget struct {
	Name, URL string
	Timeout   time.Duration
	On, Off   string
}

// deliverTLS makes the attempts in a process of its own, with the settings of Go's
// that the environment has.
func deliverTLS() error {
	var targets []*tlsTarget
	if err := json.NewDecoder(os.Stdin).Decode(&targets); err != nil {
		return err
	}
	ctx := context.Background()
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		AllowHTTP: true, Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		return err
	}
	for _, target := range targets {
		for verify, into := range map[bool]*string{true: &target.On, false: &target.Off} {
			tenant := fmt.Sprintf("%s %v", target.Name, verify)
			_, _, err := d.CreateWebhook(ctx, tenant, webhook.WebhookSpec{
				Name: "a", URL: target.URL, Events: []string{"*"}, MaxRetries: new(0), Timeout: &target.Timeout, VerifyTLS: new(verify),
			})
			if err != nil {
				return err
			}
			if _, err := d.Publish(ctx, webhook.Event{Tenant: tenant, Type: "x", Data: struct{}{}}); err != nil {
				return err
			}
			if _, err := d.DeliverDue(ctx); err != nil {
				return err
			}
			p, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant})
			if err != nil {
				return err
			}
			as, err := d.Attempts(ctx, tenant, p.Items[0].ID)
			if err != nil {
				return err
			}
			if len(as) != 1 {
				return fmt.Errorf("%s: %d attempts", tenant, len(as))
			}
			*into = fmt.Sprintf("%s %d %s", as[0].Class, as[0].Status, as[0].Error)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(targets)
}

// delivered are the outcomes of a process with these settings of Go's.
func delivered(t *testing.T, godebug string, targets []*tlsTarget) map[string]*tlsTarget {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVar+"=tls", "GODEBUG="+godebug)
	in, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("a sender with GODEBUG=%s: %v", godebug, err)
	}
	var back []*tlsTarget
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	byName := map[string]*tlsTarget{}
	for _, b := range back {
		byName[b.Name] = b
	}
	return byName
}

const (
	ok204      = " 204 "
	nothingIn  = `alert "handshake failure": it has no cipher suite, key exchange or signature algorithm in common`
	noCert     = "asks for a client certificate"
	saidNought = "said nothing after the ClientHello, which is larger than one packet"
)

// What the log says of receivers whose TLS or certificate is refused, of real
// servers; what switching verification off rescues, and what a setting of Go's does.
// The table in docs/receiving.md and the one in docs/operating.md say the same.
func TestTLSRefusalsNameTheCause(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.certificate("good", form{})
	w.certificate("rsa", form{key: "rsa:2048"})
	w.certificate("rsa512", form{key: "rsa:512"})
	w.certificate("rsa1024", form{key: "rsa:1024"})
	w.certificate("rsa9000", form{key: "rsa:9000", primes: "5"})
	w.certificate("sha1", form{digest: "sha1"})
	w.certificate("negative", form{serial: "-5"})
	w.certificate("ed448", form{key: "ed448"})
	w.certificate("secp256k1", form{key: "ec:secp256k1"})
	w.certificate("expired", form{days: "-1"})
	w.certificate("other", form{ext: "subjectAltName=DNS:other.test"})
	w.certificate("cnonly", form{ext: "keyUsage=digitalSignature"})
	w.certificate("otherip", form{ext: "subjectAltName=IP:192.0.2.1"})
	w.certificate("clients", form{ext: "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=clientAuth"})
	w.certificate("critical", form{ext: "subjectAltName=IP:127.0.0.1\n1.2.3.4=critical,ASN1:UTF8String:x"})
	w.certificate("self", form{issuer: "self"})
	authority := "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign"
	w.certificate("private", form{issuer: "private", ext: authority})
	w.certificate("ofprivate", form{issuer: "private"})
	w.certificate("middle", form{ext: authority})
	w.certificate("ofmiddle", form{issuer: "middle"})
	w.certificate("ofmiddle2", form{issuer: "middle", ext: "subjectAltName=IP:127.0.0.1\nauthorityInfoAccess=caIssuers;URI:http://ca.test/middle.cer"})
	w.certificate("oldmiddle", form{ext: authority, digest: "sha1"})
	w.certificate("ofoldmiddle", form{issuer: "oldmiddle"})
	w.certificate("constrained", form{ext: authority + "\nnameConstraints=critical,permitted;IP:192.0.2.0/255.255.255.0"})
	w.certificate("ofconstrained", form{issuer: "constrained"})
	w.certificate("ofleaf", form{issuer: "good"})

	openssl := func(cert string, args ...string) string {
		return w.serve(append([]string{"-cert", cert + ".pem", "-key", cert + ".key"}, args...)...)
	}
	weak := []string{"-cipher", "ALL:@SECLEVEL=0"}
	chain := func(cert string) []string { return []string{"-cert_chain", cert + ".pem"} }
	oneByte := func(b ...byte) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write(b)
			_, _ = conn.Read(make([]byte, 4096))
		}
	}
	// A middlebox of the kind that has not heard of larger hellos: what comes in one
	// read is all that it looks at.
	smallHello := func(otherwise func(net.Conn)) func(net.Conn) {
		pair, err := tls.LoadX509KeyPair(w.dir+"/good.pem", w.dir+"/good.key")
		if err != nil {
			t.Fatal(err)
		}
		return func(conn net.Conn) {
			head := make([]byte, 5)
			if _, err := conn.Read(head); err != nil {
				return
			}
			if size := int(head[3])<<8 | int(head[4]); size > 1000 {
				otherwise(conn)
				return
			}
			secure := tls.Server(&pushedBack{conn, head}, &tls.Config{Certificates: []tls.Certificate{pair}})
			if _, err := secure.Read(make([]byte, 4096)); err == nil {
				_, _ = secure.Write([]byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"))
			}
			_ = secure.Close()
		}
	}
	hold := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

	type row struct {
		name, address string
		on, off       string // ok204: delivered
		godebug       string // what helps
	}
	rows := []row{
		{"good", openssl("good"), ok204, ok204, ""},
		{"TLS 1.2", openssl("good", "-tls1_2"), ok204, ok204, ""},
		{"RSA 1024", openssl("rsa1024", weak...), ok204, ok204, ""},
		{"with its intermediate", openssl("ofmiddle", chain("middle")...), ok204, ok204, ""},
		{"P-521", openssl("good", "-groups", "P-521"), ok204, ok204, ""},

		{"RSA key exchange", openssl("rsa", "-tls1_2", "-cipher", "AES128-GCM-SHA256"), nothingIn, nothingIn, "tlsrsakex=1"},
		{"3DES", goPeer(t, w, "rsa", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}}), nothingIn, nothingIn, "tls3des=1"},
		{"DHE", openssl("rsa", "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"), nothingIn, nothingIn, ""},
		{"X448", openssl("good", "-groups", "X448"), nothingIn, nothingIn, ""},
		{"FFDHE", openssl("good", "-tls1_3", "-groups", "ffdhe2048"), nothingIn, nothingIn, ""},
		{"Brainpool", openssl("good", "-tls1_2", "-groups", "brainpoolP256r1"), nothingIn, nothingIn, ""},
		{"AES-CCM", openssl("good", "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"), nothingIn, nothingIn, ""},
		{"Ed448 key", openssl("ed448"), nothingIn, nothingIn, ""},
		{"secp256k1 key", openssl("secp256k1"), nothingIn, nothingIn, ""},
		{"SHA-1 in the handshake", openssl("rsa", append(weak, "-tls1_2", "-sigalgs", "RSA+SHA1")...), nothingIn, nothingIn, "tlssha1=1"},
		{"TLS 1.1", openssl("rsa", append(weak, "-tls1_1")...), "no TLS version from 1.2 on", "no TLS version from 1.2 on", ""},
		{"TLS 1.0", openssl("rsa", append(weak, "-tls1")...), "no TLS version from 1.2 on", "no TLS version from 1.2 on", ""},
		{"client certificate, TLS 1.2", openssl("good", "-tls1_2", "-Verify", "1"), noCert, noCert, ""},
		{"client certificate, TLS 1.3", openssl("good", "-tls1_3", "-Verify", "1"), noCert, noCert, ""},
		{"client certificate, Go", goPeer(t, w, "good", &tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}), noCert, noCert, ""},
		{"no HTTP", openssl("good", "-alpn", "spdy/3"), "speaks neither HTTP/1.1 nor HTTP/2", "speaks neither HTTP/1.1 nor HTTP/2", ""},
		{"internal error", rawPeer(t, oneByte(21, 3, 3, 0, 2, 2, 80)), `the receiver refused the TLS handshake with the alert "internal error": something failed in the receiver's`, `the receiver refused`, ""},
		{"unrecognized name", rawPeer(t, oneByte(21, 3, 3, 0, 2, 2, 112)), "no site, or no certificate, for the host", "no site, or no certificate", ""},
		{"access denied", rawPeer(t, oneByte(21, 3, 3, 0, 2, 2, 49)), "does not let the sender in", "does not let the sender in", ""},
		{"plain HTTP", rawPeer(t, oneByte([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...)), "answers in plain HTTP", "answers in plain HTTP", ""},
		{"drops large hellos", rawPeer(t, smallHello(hold)), saidNought, saidNought, "tlsmlkem=0"},
		{"closes at large hellos", rawPeer(t, smallHello(func(net.Conn) {})), saidNought, saidNought, "tlsmlkem=0"},

		{"RSA 512, TLS 1.2", openssl("rsa512", append(weak, "-tls1_2")...), "RSA key is too short", "RSA key is too short", "rsa1024min=0"},
		{"RSA 512, TLS 1.3", openssl("rsa512", weak...), "RSA key of 2,048 bits", "RSA key of 2,048 bits", ""},
		{"RSA 9000", openssl("rsa9000"), "RSA key is too long", "RSA key is too long", "tlsmaxrsasize=16384"},
		{"negative serial", openssl("negative"), "serial number is negative", "serial number is negative", "x509negativeserial=1"},

		{"SHA-1", openssl("sha1", weak...), "signed with SHA-1", ok204, ""},
		{"SHA-1 of the intermediate", openssl("ofoldmiddle", append(weak, chain("oldmiddle")...)...), "signed with SHA-1", ok204, ""},
		{"missing intermediate", openssl("ofmiddle"), "the server does not send the intermediate certificate", ok204, ""},
		{"missing intermediate that browsers fetch", openssl("ofmiddle2"), "does not send the intermediate certificate (browsers fetch it", ok204, ""},
		{"private authority", openssl("ofprivate", chain("private")...), "its authority is a private one", ok204, ""},
		{"self-signed", openssl("self"), "it is self-signed", ok204, ""},
		{"signed by no authority", openssl("ofleaf", chain("good")...), "no authority's", ok204, ""},
		{"name constraints", openssl("ofconstrained", chain("constrained")...), "name constraints", ok204, ""},
		{"expired", openssl("expired"), "expired or is not yet valid: it was valid until 20", ok204, ""},
		{"another name", openssl("otherip"), "it is for other names", ok204, ""},
		{"no address in it", openssl("other"), "the URL has an IP address, and the certificate is for names", ok204, ""},
		{"common name only", openssl("cnonly"), "subject alternative name", ok204, ""},
		{"for clients", openssl("clients"), "not for servers", ok204, ""},
		{"critical extension", openssl("critical"), "critical extension", ok204, ""},
	}
	target := func(r row) *tlsTarget {
		return &tlsTarget{Name: r.name, URL: "https://" + r.address + "/", Timeout: time.Minute}
	}
	var all []*tlsTarget
	byDebug := map[string][]*tlsTarget{}
	for _, r := range rows {
		x := target(r)
		if r.name == "drops large hellos" {
			x.Timeout = 3 * time.Second // it ends no sooner
		}
		all = append(all, x)
		if r.godebug != "" {
			byDebug[r.godebug] = append(byDebug[r.godebug], target(r))
		}
	}
	got := delivered(t, "", all)
	for _, r := range rows {
		if g := got[r.name]; !strings.Contains(g.On, r.on) || !strings.Contains(g.Off, r.off) {
			t.Errorf("%s: with verification %q, want %q; without %q, want %q", r.name, g.On, r.on, g.Off, r.off)
		} else if strings.Contains(g.On, "127.0.0.1") || strings.Contains(g.On, "O=") {
			t.Errorf("%s: the log repeats what is in the certificate, or the address: %q", r.name, g.On)
		}
	}
	for _, debug := range slices.Sorted(maps.Keys(byDebug)) {
		for name, g := range delivered(t, debug, byDebug[debug]) {
			if !strings.Contains(g.On, ok204) && !(name == "negative serial" && strings.Contains(g.Off, ok204)) {
				t.Errorf("GODEBUG=%s does not help %s: %q, %q", debug, name, g.On, g.Off)
			}
		}
	}
}

// pushedBack is a connection of which some was read already.
type pushedBack struct {
	net.Conn
	head []byte
}

func (c *pushedBack) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
