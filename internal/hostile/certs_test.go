package hostile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// makeAuthority writes a certificate authority to dir: ca.pem and ca.key.
func makeAuthority(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hostile test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(filepath.Join(dir, "ca.key"), keyDER, 0o600))
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func loadAuthority(dir string) (*authority, error) {
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("hostile: ca.pem holds no certificate")
	}
	a := new(authority)
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, err
	}
	der, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	a.key, err = x509.ParseECPrivateKey(der)
	return a, err
}

// leaf returns a certificate for names, as change would have it.
func (a *authority) leaf(names []string, change func(*x509.Certificate)) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	parent, signer := a.cert, a.key
	if change != nil {
		change(template)
		if template.IsCA { // a certificate that signs itself
			parent, signer = template, key
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serverConfigs returns the TLS configurations of the kinds of receivers.
func (a *authority) serverConfigs() (map[kind]*tls.Config, error) {
	good, err := a.leaf([]string{"*.example.com"}, nil)
	if err != nil {
		return nil, err
	}
	var errs []error
	with := func(names []string, change func(*x509.Certificate)) tls.Certificate {
		c, err := a.leaf(names, change)
		errs = append(errs, err)
		return c
	}
	names := []string{"*.example.com"}
	selfSigned := with(names, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	huge := good
	fat := with(names, func(c *x509.Certificate) {
		c.Subject.CommonName = "fat"
		c.DNSNames = []string{strings.Repeat("a", 63) + ".example.com"}
		for range 100 {
			c.DNSNames = append(c.DNSNames, strings.Repeat("a", 63)+"."+strings.Repeat("b", 63)+".example.com")
		}
	})
	for range 7 { // about 100 KB
		huge.Certificate = append(huge.Certificate, fat.Certificate[0])
	}
	huge.OCSPStaple = []byte("this is no OCSP response")
	http1 := []string{"http/1.1"}
	var handshakes atomic.Int64
	return map[kind]*tls.Config{
		overTLS:   {Certificates: []tls.Certificate{good}, NextProtos: http1},
		overHTTP2: {Certificates: []tls.Certificate{good}, NextProtos: []string{"h2"}},
		expired:   {Certificates: []tls.Certificate{with(names, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}},
		wrongName: {Certificates: []tls.Certificate{with([]string{"other.example.org"}, nil)}},
		selfMade:  {Certificates: []tls.Certificate{selfSigned}},
		hugeChain: {Certificates: []tls.Certificate{huge}, NextProtos: http1},
		oldTLS:    {Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		wantsCert: {Certificates: []tls.Certificate{good}, NextProtos: http1, ClientAuth: tls.RequestClientCert},
		needsCert: {Certificates: []tls.Certificate{good}, NextProtos: http1, ClientAuth: tls.RequireAnyClientCert},
		turnedCert: {NextProtos: http1, SessionTicketsDisabled: true, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if handshakes.Add(1)%2 == 0 {
				return &selfSigned, nil
			}
			return &good, nil
		}},
	}, errors.Join(errs...)
}

func tlsWith(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// discardLog keeps what strangers cause out of the output.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
