package killtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// downFile is the file whose presence makes the receiver refuse connections.
const downFile = "receiver-down"

// receive is the receiver: an HTTPS server that writes down every request
// before it answers. It checks signatures by itself, without the library.
func receive(s *spec) error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(s.Dir, "ca.pem"), filepath.Join(s.Dir, "ca.key"))
	if err != nil {
		return err
	}
	out, err := os.OpenFile(s.file("requests"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	l, err := new(net.ListenConfig).Listen(background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	halves, err := os.OpenFile(s.file("halves"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer halves.Close()
	rx := &receiver{spec: s, out: out, halves: halves}
	server := &http.Server{
		Handler:           rx,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // killed clients
	}
	if err := s.sayReady(l.Addr().String()); err != nil {
		return err
	}
	return server.ServeTLS(l, "", "")
}

type receiver struct {
	spec   *spec
	mu     sync.Mutex
	out    *os.File
	halves *os.File // requests that broke off
}

func (rx *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || r.ContentLength != int64(len(body)) {
		// Half a request, from a sender that died: it was not delivered.
		rx.note(rx.halves, fmt.Sprintf("%d %s %s %d of %d", time.Now().UnixNano(), r.URL.Path, r.Header.Get("Webhook-Id"), len(body), r.ContentLength))
		return
	}
	if _, err := os.Stat(filepath.Join(rx.spec.Dir, downFile)); err == nil {
		panic(http.ErrAbortHandler)
	}
	key := strings.TrimPrefix(r.URL.Path, "/")
	id := r.Header.Get("Webhook-Id")
	attempt, _ := strconv.Atoi(r.Header.Get("X-Webhook-Attempt"))
	kind, delay := answerFor(rx.spec.Seed, key, id, attempt)
	signed := "forged"
	if n, ok := rx.verify(r.Header, key, body); ok {
		signed = fmt.Sprint("signed-", n)
	}
	sum := sha256.Sum256(body)
	rx.note(rx.out, fmt.Sprintf("%d %s %s %d %x %s %s", time.Now().UnixNano(), key, id, attempt, sum[:16], signed, kind))
	rx.answer(w, r, kind, delay)
}

// note writes one line with one write: a reader never sees half of it.
func (rx *receiver) note(out *os.File, line string) {
	rx.mu.Lock()
	defer rx.mu.Unlock()
	if _, err := out.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

func (rx *receiver) answer(w http.ResponseWriter, r *http.Request, kind string, delay time.Duration) {
	if delay > 0 {
		wait := time.NewTimer(delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // returning would answer 200
		}
	}
	switch kind {
	case answerOK, answerSlow:
		_, _ = io.WriteString(w, "ok")
	case answerBroken:
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "broken")
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	case answer500:
		http.Error(w, "no", http.StatusInternalServerError)
	case answer429:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "later", http.StatusTooManyRequests)
	case answerReset:
		panic(http.ErrAbortHandler)
	case answerHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// maxRotations bounds the secrets that the receiver tries.
const maxRotations = 8

// verify checks both signatures with the secrets that the webhook has had, and
// returns how many rotations there had been.
func (rx *receiver) verify(h http.Header, key string, body []byte) (rotation int, ok bool) {
	plain, standard := h.Values("X-Webhook-Signature"), h.Values("Webhook-Signature")
	if len(plain) != 1 || len(standard) != 1 {
		return 0, false
	}
	content := append([]byte(h.Get("Webhook-Id")+"."+h.Get("Webhook-Timestamp")+"."), body...)
	for n := range maxRotations {
		secret := secretOf(rx.spec.Seed, key, n)
		if hex.EncodeToString(sign([]byte(secret), body)) != plain[0] {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			return 0, false
		}
		want := "v1," + base64.StdEncoding.EncodeToString(sign(raw, content))
		return n, strings.Contains(" "+standard[0]+" ", " "+want+" ")
	}
	return 0, false
}

func sign(key, content []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(content)
	return m.Sum(nil)
}
