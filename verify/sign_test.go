package verify_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

const (
	testSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	oldSecret  = "whsec_/+7dzLuqmYh3ZlVEMyIRAP/u3cy7qpmId2ZVRDMiEQA="
	testID     = "msg_1"
	testBody   = `{"event":"agent.message","webhook":{"id":"wh_1","name":"My hook"},"timestamp":"2024-01-15T11:45:00.000000Z","data":{"agent":{"id":"ag_1","name":"Ada"},"room":"r7Kq","content":"hello"}}`
)

// testTime is the time of the receiver's clock in most tests.
var testTime = time.Date(2024, 1, 15, 12, 0, 0, 0, time.UTC)

// These functions sign as documented, with code of their own.

func sum(key []byte, message string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

func signPlain(secret, body string) string {
	return hex.EncodeToString(sum([]byte(secret), body))
}

func signV1(secret, id, stamp, body string) string {
	key := []byte(secret)
	if rest, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if k, err := base64.StdEncoding.DecodeString(rest); err == nil {
			key = k
		}
	}
	return "v1," + base64.StdEncoding.EncodeToString(sum(key, id+"."+stamp+"."+body))
}

func signV1a(key ed25519.PrivateKey, id, stamp, body string) string {
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(id+"."+stamp+"."+body)))
}

// edKey returns a fixed key pair and the public key's text.
func edKey(seed byte) (ed25519.PrivateKey, string) {
	k := ed25519.NewKeyFromSeed(sum([]byte{seed}, "seed"))
	return k, "whpk_" + base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey))
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// signedHeader returns the headers that the sender sets for body at the given
// time.
func signedHeader(body string, at time.Time, secrets ...string) http.Header {
	var sigs []string
	for _, s := range secrets {
		sigs = append(sigs, signV1(s, testID, unix(at), body))
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("webhook-id", testID)
	h.Set("webhook-timestamp", unix(at))
	h.Set("webhook-signature", strings.Join(sigs, " "))
	h.Set("X-Webhook-Signature", signPlain(secrets[0], body))
	h.Set("X-Webhook-Event", "agent.message")
	h.Set("X-Webhook-Attempt", "2")
	return h
}

func plainHeader(sig ...string) http.Header {
	return http.Header{"X-Webhook-Signature": sig}
}

// newRequest returns a delivery as a server sees it.
func newRequest(body string, h http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	r.Header = h
	return r
}

// at returns cfg with the tests' clock.
func at(cfg verify.Config) verify.Config {
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return testTime }
	}
	return cfg
}

func mustNew(t testing.TB, cfg verify.Config, secrets ...string) *verify.Verifier {
	t.Helper()
	v, err := verify.New(at(cfg), secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
