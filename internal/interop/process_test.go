package interop

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds whatever a test waits for, on a busy machine.
const patience = 60 * time.Second

// process is a running Node program, spoken to line by line.
type process struct {
	name  string
	in    io.WriteCloser
	lines chan string // what it prints
	stop  func()      // kills it and waits for its end
	mu    sync.Mutex  // one question at a time
}

// start runs a Node script until the test ends.
func start(t *testing.T, folder, script string, env ...string) *process {
	t.Helper()
	p, err := run(folder, script, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// run runs a Node script until it is stopped.
func run(folder, script string, env ...string) (*process, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("Node.js is needed: run 'make setup', or install Node.js 20 or later: %w", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err != nil {
		return nil, fmt.Errorf("the Node packages are not installed: run 'make setup', or 'npm ci --ignore-scripts' in %s: %w", folder, err)
	}
	cmd := exec.Command(node, script)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: script, in: in, lines: make(chan string, 1<<16)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case p.lines <- line:
			default: // nobody is interested any more
			}
		}
	}()
	p.stop = func() {
		in.Close()
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	}
	return p, nil
}

// next returns the next line that the process prints.
func (p *process) next() (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("%s has ended; see what it wrote above", p.name)
		}
		return line, nil
	case <-time.After(patience):
		return "", fmt.Errorf("%s has said nothing for %v", p.name, patience)
	}
}

// peers is the process of peers.mjs as one test sees it. The tests share the
// process, as starting one takes longer than most of them.
type peers struct {
	*peerProcess
	prefix string // of the names of this test's secrets
}

type peerProcess struct {
	*process
	ports map[string]int
	roots *x509.CertPool // trust its certificate
	tests atomic.Int32
}

// shared is the process, started by the first test that needs it.
var shared struct {
	once sync.Once
	*peerProcess
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.peerProcess != nil {
		shared.stop()
	}
	os.Exit(code)
}

func startPeers(t *testing.T) *peers {
	t.Helper()
	cert, key, roots := certificate(t)
	shared.once.Do(func() {
		p, err := run(".", "peers.mjs", "TLS_CERT="+cert, "TLS_KEY="+key)
		if err != nil {
			shared.err = err
			return
		}
		shared.peerProcess = &peerProcess{process: p, roots: roots}
		line, err := p.next()
		if err == nil {
			err = json.Unmarshal([]byte(line), &shared.ports)
		}
		shared.err = err
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return &peers{shared.peerProcess, fmt.Sprintf("%d-", shared.tests.Add(1))}
}

// set gives a secret a name that can stand in a URL.
func (p *peers) set(t *testing.T, name, secret string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	line, err := json.Marshal(map[string]string{"name": p.prefix + name, "secret": secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", line); err != nil {
		t.Fatal(err)
	}
	if _, err := p.next(); err != nil {
		t.Fatal(err)
	}
}

// url returns where a check with a named secret listens, over http, https, http2
// or fastify.
func (p *peers) url(protocol, check, secret string) string {
	scheme := map[string]string{"http": "http", "fastify": "http", "https": "https", "http2": "https"}[protocol]
	return fmt.Sprintf("%s://127.0.0.1:%d/%s/%s", scheme, p.ports[protocol], check, p.prefix+secret)
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "interop"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})), roots
}
