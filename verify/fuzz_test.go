package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// fuzzConfigs differ in the requests that they accept.
var fuzzConfigs = []verify.Config{
	{},
	{AllowPlain: true},
	{AllowPlain: true, AnyBody: true},
}

// FuzzSignatureHeader: only the right digest verifies, in either header, and no
// header value causes a panic.
func FuzzSignatureHeader(f *testing.F) {
	stamp := unix(testTime)
	rightV1 := signV1(testSecret, testID, stamp, testBody)
	rightPlain := signPlain(testSecret, testBody)
	for _, s := range []string{
		"", " ", ",", "v1,", "v1a,", "v1", rightV1, rightPlain, strings.ToUpper(rightPlain), "sha256=" + rightPlain,
		rightV1 + " " + rightV1, "v2,x " + rightV1, rightV1 + " v1a,AAAA", rightV1 + "=", rightPlain + "," + rightPlain,
		strings.Repeat("0", 64), "v1," + strings.Repeat("A", 43) + "=", "\x00", rightV1[:46] + "\n",
	} {
		f.Add(s)
	}
	standard := mustNew(f, verify.Config{AllowPlain: true}, testSecret)
	f.Fuzz(func(t *testing.T, value string) {
		h := signedHeader(testBody, testTime, testSecret)
		h["Webhook-Signature"] = []string{value}
		h["X-Webhook-Signature"] = []string{rightPlain}
		want := false
		for entry := range strings.SplitSeq(value, " ") {
			want = want || entry == rightV1
		}
		d, err := standard.Verify([]byte(testBody), h)
		if err == nil && !want || err != nil && d != nil {
			t.Errorf("webhook-signature %q: %v, %v", value, d, err)
		}
		if err != nil && verify.StatusCode(err) != 400 && verify.StatusCode(err) != 401 {
			t.Errorf("webhook-signature %q: status %d of %v", value, verify.StatusCode(err), err)
		}

		d, err = standard.Verify([]byte(testBody), plainHeader(value))
		want = len(value) == 64 && strings.EqualFold(value, rightPlain)
		if (err == nil) != want || err != nil && d != nil {
			t.Errorf("X-Webhook-Signature %q: %v, %v; want accepted: %v", value, d, err, want)
		}
	})
}

// FuzzRequest: a request that differs from the signed request in a signed part
// is refused, an accepted delivery is unchanged, and no request causes a panic.
func FuzzRequest(f *testing.F) {
	stamp := unix(testTime)
	sig, plain := signV1(testSecret, testID, stamp, testBody), signPlain(testSecret, testBody)
	f.Add("POST", testID, stamp, sig, plain, "agent.message", "1", "", []byte(testBody), int64(len(testBody)))
	f.Add("POST", testID, stamp, sig, "", "", "", "identity", []byte(testBody), int64(-1))
	f.Add("GET", testID, stamp, sig, plain, "agent.message", "1", "", []byte(testBody), int64(0))
	f.Add("POST", testID, stamp, "", plain, "agent.message", "x", "gzip", []byte(testBody), int64(1<<40))
	f.Add("POST", "a.b", "-1", "v1,", "", "", "", "", []byte(nil), int64(5))
	f.Add("POST", testID, "1705320001", sig, plain, "user.message", "2", "", []byte(`{"event":"x"}`), int64(-1))
	f.Fuzz(func(t *testing.T, method, id, ts, sigs, plainSig, event, attempt, encoding string, body []byte, length int64) {
		for _, cfg := range fuzzConfigs {
			var refusal error
			cfg.OnError = func(_ *http.Request, err error) { refusal = err }
			cfg.Seen = &verify.MemorySeen{}
			var got *verify.Delivery
			var read []byte
			next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got, _ = verify.FromContext(r.Context())
				read, _ = io.ReadAll(r.Body)
			})
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			r.Method, r.ContentLength = method, length
			for name, v := range map[string]string{
				"Webhook-Id": id, "Webhook-Timestamp": ts, "Webhook-Signature": sigs, "X-Webhook-Signature": plainSig,
				"X-Webhook-Event": event, "X-Webhook-Attempt": attempt, "Content-Encoding": encoding,
			} {
				if v != "" {
					r.Header[name] = []string{v}
				}
			}
			w := httptest.NewRecorder()
			mustNew(t, cfg, testSecret).Middleware(next).ServeHTTP(w, r)
			if got == nil {
				if refusal == nil || w.Code < 400 {
					t.Fatalf("refused with status %d and error %v", w.Code, refusal)
				}
				if strings.Contains(refusal.Error(), testSecret[6:]) || strings.Contains(refusal.Error(), sig[3:]) && sigs != sig {
					t.Fatalf("the error tells a secret: %v", refusal)
				}
				continue
			}
			if errors.Is(refusal, verify.ErrSeen) || method != http.MethodPost {
				t.Fatalf("method %q was let through, with %v", method, refusal)
			}
			if string(body) != testBody {
				t.Fatalf("a body that nobody signed was let through: %q", body)
			}
			if !bytes.Equal(read, body) || !bytes.Equal(got.Body, body) {
				t.Fatal("the body changed on the way")
			}
			if got.Scheme == verify.SchemePlain {
				if !cfg.AllowPlain || sigs != "" || !strings.EqualFold(plainSig, plain) {
					t.Fatalf("plain signature %q was let through", plainSig)
				}
			} else if id != testID || ts != stamp || !strings.Contains(sigs, sig) {
				t.Fatalf("ID %q, time %q, signature %q were let through", id, ts, sigs)
			}
		}
	})
}

// FuzzBody: any signed body is decoded or refused, and the bytes stay as they
// are.
func FuzzBody(f *testing.F) {
	f.Add([]byte(testBody))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"event":"user.message","webhook":{},"timestamp":"2024-01-15T11:45:00.000000Z","data":null}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte(`{"event":"a","event":"b","webhook":null,"timestamp":"","data":[[[[]]]]}`))
	v := mustNew(f, verify.Config{}, testSecret)
	f.Fuzz(func(t *testing.T, body []byte) {
		h := signedHeader(string(body), testTime, testSecret)
		h.Del("X-Webhook-Event")
		d, err := v.Verify(body, h)
		if err != nil {
			if !errors.Is(err, verify.ErrPayload) && !errors.Is(err, verify.ErrBodyTooLarge) {
				t.Fatalf("a signed body: %v", err)
			}
			return
		}
		if !bytes.Equal(d.Body, body) || d.Type == "" || len(d.Data) == 0 {
			t.Fatalf("Delivery = %+v", d)
		}
		if _, err := d.Event(); err != nil && !errors.Is(err, verify.ErrPayload) {
			t.Fatal(err)
		}
	})
}

// FuzzTimestamp: a webhook-timestamp is accepted only in one spelling and only
// within the tolerance, however it is signed.
func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{unix(testTime), "", "0", "-1", "+" + unix(testTime), "0" + unix(testTime), unix(testTime) + ".0", " " + unix(testTime),
		"1e9", "9223372036854775807", "18446744073709551616", unix(testTime.Add(5 * time.Minute)), unix(testTime.Add(-5*time.Minute - time.Second)), "\u0661"} {
		f.Add(s)
	}
	v := mustNew(f, at(verify.Config{}), testSecret)
	f.Fuzz(func(t *testing.T, stamp string) {
		h := signedHeader(testBody, testTime, testSecret)
		h["Webhook-Timestamp"] = []string{stamp}
		h["Webhook-Signature"] = []string{signV1(testSecret, testID, stamp, testBody)}
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		right := err == nil && strconv.FormatInt(seconds, 10) == stamp && seconds >= 0
		want := right && seconds >= testTime.Unix()-300 && seconds <= testTime.Unix()+300
		d, err := v.Verify([]byte(testBody), h)
		if (err == nil) != want || err == nil && !d.SentAt.Equal(time.Unix(seconds, 0)) {
			t.Fatalf("webhook-timestamp %q: %v, %v; want accepted: %v", stamp, d, err, want)
		}
		if err != nil && right != (errors.Is(err, verify.ErrTooOld) || errors.Is(err, verify.ErrTooNew)) && len(stamp) < 12 {
			t.Fatalf("webhook-timestamp %q: %v", stamp, err)
		}
	})
}

// FuzzPublicKey: any text as a public key is refused without being repeated in
// the error, or is a key that verifies only its own signatures.
func FuzzPublicKey(f *testing.F) {
	_, pub := edKey(1)
	for _, s := range []string{pub, pub[5:], "", "whpk_", pub + "\n", pub + "=", strings.TrimRight(pub, "="), "whsk_" + pub[5:], "whpk_AAAA", strings.ToUpper(pub)} {
		f.Add(s)
	}
	other, _ := edKey(2)
	f.Fuzz(func(t *testing.T, key string) {
		v, err := verify.New(at(verify.Config{PublicKeys: []string{key}}))
		if err != nil {
			if !errors.Is(err, verify.ErrSecret) || len(key) > 20 && strings.Contains(err.Error(), key) {
				t.Fatalf("public key %q: %v", key, err)
			}
			return
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whpk_"))
		if err != nil || len(raw) != ed25519.PublicKeySize || len(key) != len(pub) {
			t.Fatalf("public key %q was taken: %d bytes, %v", key, len(raw), err)
		}
		h := signedHeader(testBody, testTime, testSecret)
		h["Webhook-Signature"] = []string{signV1a(other, testID, unix(testTime), testBody)}
		if d, err := v.Verify([]byte(testBody), h); err == nil && !bytes.Equal(raw, other.Public().(ed25519.PublicKey)) {
			t.Fatalf("public key %q verifies what another key signed: %v", key, d)
		}
	})
}
