package hostile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// roleVar names what a process started from this binary is to be; in the
// process that go test starts it is empty.
const roleVar = "HOSTILE_ROLE"

// certDir holds the authority that signs the receivers' certificates. Every
// process of a run shares it.
const certDirVar = "HOSTILE_CERTS"

func TestMain(m *testing.M) { os.Exit(mainCode(m)) }

func mainCode(m *testing.M) int {
	flag.Parse()
	switch role := os.Getenv(roleVar); role {
	case "":
	case "receivers":
		return exitCode(serveReceivers(os.Stdin, os.Stdout))
	default:
		if run, ok := otherRoles[role]; ok {
			return exitCode(run())
		}
		return exitCode(fmt.Errorf("hostile: no role %q", role))
	}
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return exitCode(err)
	}
	defer os.RemoveAll(dir)
	if err := makeAuthority(dir); err != nil {
		return exitCode(err)
	}
	// The library's own client trusts what the system trusts. crypto/x509 reads
	// these when it verifies for the first time.
	os.Setenv(certDirVar, dir)
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
	os.Setenv("SSL_CERT_DIR", filepath.Join(dir, "none"))
	return m.Run()
}

// long lets the tests that have no natural end run for a while: 10m, 1h.
var long = flag.Duration("long", 0, "run the catalogue and the soak for so long")

// otherRoles are those of single platforms.
var otherRoles = map[string]func() error{}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
