package hostile

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A workshop makes certificates that crypto/x509 would not, and starts servers that
// speak a TLS that crypto/tls does not.
type workshop struct {
	t   *testing.T
	dir string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is missing: run 'make setup', or install it (Debian: apt-get install openssl)")
	}
	return &workshop{t, t.TempDir()}
}

func (w *workshop) openssl(args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "openssl", args...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A form says how a certificate is to be. Its zero value is a good one.
type form struct {
	key    string // as for openssl req -newkey, with a curve behind ec; empty: ec:P-256
	primes string // of an RSA key; empty: two. More are found sooner.
	ext    string // extensions; empty: for 127.0.0.1
	digest string // of the signature; empty: sha256
	serial string
	issuer string // another certificate of the workshop; empty: the authority that is trusted; itself: self-signed
	days   string
}

// certificate writes name.pem and name.key.
func (w *workshop) certificate(name string, f form) {
	w.t.Helper()
	if f.key == "" {
		f.key = "ec:P-256"
	}
	if f.ext == "" {
		f.ext = "subjectAltName=IP:127.0.0.1"
	}
	if f.digest == "" {
		f.digest = "sha256"
	}
	if f.days == "" {
		f.days = "30"
	}
	ext := filepath.Join(w.dir, name+".ext")
	if err := os.WriteFile(ext, []byte(f.ext+"\nsubjectKeyIdentifier=hash\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	key, curve, isEC := strings.Cut(f.key, ":")
	args := []string{"req", "-new", "-nodes", "-newkey", f.key, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=127.0.0.1/O=" + name}
	if isEC && key == "ec" {
		args[4] = "ec"
		args = append(args, "-pkeyopt", "ec_paramgen_curve:"+curve)
	}
	if f.primes != "" {
		args = append(args, "-pkeyopt", "rsa_keygen_primes:"+f.primes)
	}
	w.openssl(args...)
	sign := []string{"x509", "-req", "-in", name + ".csr", "-out", name + ".pem", "-extfile", ext, "-" + f.digest, "-days", f.days}
	switch f.issuer {
	case "":
		dir := os.Getenv(certDirVar)
		sign = append(sign, "-CA", filepath.Join(dir, "ca.pem"), "-CAkey", filepath.Join(dir, "ca.key"), "-CAkeyform", "DER")
	case name:
		sign = append(sign, "-signkey", name+".key")
	default:
		sign = append(sign, "-CA", f.issuer+".pem", "-CAkey", f.issuer+".key")
	}
	if f.serial != "" {
		sign = append(sign, "-set_serial", f.serial)
	} else {
		sign = append(sign, "-set_serial", strconv.FormatInt(time.Now().UnixNano(), 10))
	}
	w.openssl(sign...)
}

// serve starts openssl s_server, has it answer every request with 204, and returns
// its address.
func (w *workshop) serve(args ...string) string {
	w.t.Helper()
	address := freeAddress(w.t)
	_, port, _ := net.SplitHostPort(address)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_server", "-quiet", "-accept", "127.0.0.1:" + port}, args...)...)
	cmd.Dir = w.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.Contains(line, "POST / HTTP/1.1") { // perhaps behind the body of the request before
				_, _ = io.WriteString(in, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			}
		}
	}()
	w.t.Cleanup(func() {
		stop()
		<-read
		_ = cmd.Wait() // it was killed
	})
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		select {
		case <-read:
			w.t.Fatalf("openssl s_server %s: %s", strings.Join(args, " "), said.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("openssl s_server %s does not listen", strings.Join(args, " "))
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// goPeer serves 204 with crypto/tls, which can do what openssl was built without.
func goPeer(t *testing.T, w *workshop, cert string, cfg *tls.Config) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, cert+".pem"), filepath.Join(w.dir, cert+".key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return rawPeer(t, func(conn net.Conn) {
		secure := tls.Server(conn, cfg)
		if _, err := bufio.NewReader(secure).ReadString('\n'); err == nil {
			_, _ = io.WriteString(secure, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		}
		_ = secure.Close()
	})
}

// rawPeer treats each connection with handle, in turn.
func rawPeer(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				handle(conn)
				_ = conn.Close()
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String()
}
