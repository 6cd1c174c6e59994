package verify_test

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook/verify"
)

func TestV7_EmptySecretIsRefused(t *testing.T) {
	if !hmac.Equal(nil, nil) {
		t.Fatal("the premise: two empty digests compare equal")
	}
	_, pub := edKey(1)
	for _, tt := range []struct {
		name    string
		cfg     verify.Config
		secrets []string
		want    error
	}{
		{"none", verify.Config{}, nil, verify.ErrNoSecret},
		{"empty", verify.Config{}, []string{""}, verify.ErrNoSecret},
		{"one of two empty", verify.Config{}, []string{testSecret, ""}, verify.ErrNoSecret},
		{"empty beside a public key", verify.Config{PublicKeys: []string{pub}}, []string{""}, verify.ErrNoSecret},
		{"prefix only", verify.Config{}, []string{"whsec_"}, verify.ErrSecret},
		{"short", verify.Config{}, []string{"hunter2"}, verify.ErrSecret},
		{"decodes short", verify.Config{}, []string{"whsec_AAECAwQFBgcICQoLDA0ODxAREhM="}, verify.ErrSecret},
		{"line break", verify.Config{}, []string{testSecret + "\n"}, verify.ErrSecret},
		{"public key empty", verify.Config{PublicKeys: []string{""}}, nil, verify.ErrSecret},
		{"public key without prefix", verify.Config{PublicKeys: []string{pub[5:]}}, nil, verify.ErrSecret},
		{"public key short", verify.Config{PublicKeys: []string{"whpk_AAAA"}}, nil, verify.ErrSecret},
		{"public key empty after prefix", verify.Config{PublicKeys: []string{"whpk_"}}, nil, verify.ErrSecret},
		{"public key not base64", verify.Config{PublicKeys: []string{"whpk_%%%"}}, nil, verify.ErrSecret},
		{"public key with line break", verify.Config{PublicKeys: []string{pub + "\n"}}, nil, verify.ErrSecret},
		{"negative tolerance", verify.Config{Tolerance: -1}, []string{testSecret}, verify.ErrConfig},
		{"negative size", verify.Config{MaxBody: -1}, []string{testSecret}, verify.ErrConfig},
		{"huge size", verify.Config{MaxBody: 1<<63 - 1}, []string{testSecret}, verify.ErrConfig},
		{"plain without a secret", verify.Config{AllowPlain: true, PublicKeys: []string{pub}}, nil, verify.ErrConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := verify.New(tt.cfg, tt.secrets...)
			if v != nil || !errors.Is(err, tt.want) {
				t.Fatalf("New = %v, %v; want %v", v, err, tt.want)
			}
			for _, s := range append(tt.secrets, tt.cfg.PublicKeys...) {
				if len(s) > 12 && strings.Contains(err.Error(), s[6:]) {
					t.Errorf("the error contains the secret: %v", err)
				}
			}
			if verify.StatusCode(err) != http.StatusInternalServerError {
				t.Errorf("StatusCode = %d, want 500", verify.StatusCode(err))
			}
		})
	}
}

// A signature with an empty key never verifies, also not with a Verifier that
// New did not make.
func TestV7_EmptyKeyNeverVerifies(t *testing.T) {
	h := signedHeader(testBody, testTime, testSecret)
	h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(sum(nil, testID+"."+unix(testTime)+"."+testBody)))
	h.Set("X-Webhook-Signature", signPlain("", testBody))
	var none *verify.Verifier
	for name, v := range map[string]*verify.Verifier{"nil": none, "zero": {}} {
		if d, err := v.Verify([]byte(testBody), h); d != nil || !errors.Is(err, verify.ErrNoSecret) {
			t.Errorf("%s: Verify = %v, %v; want ErrNoSecret", name, d, err)
		}
		if d, err := v.Request(newRequest(testBody, h)); d != nil || !errors.Is(err, verify.ErrNoSecret) {
			t.Errorf("%s: Request = %v, %v; want ErrNoSecret", name, d, err)
		}
	}
	if _, err := verify.Verify([]byte(testBody), h, ""); !errors.Is(err, verify.ErrNoSecret) {
		t.Errorf("Verify with an empty secret: %v", err)
	}
	if _, err := verify.Request(newRequest(testBody, h), ""); !errors.Is(err, verify.ErrNoSecret) {
		t.Errorf("Request with an empty secret: %v", err)
	}
	if _, err := verify.Verify([]byte(testBody), h, "short"); !errors.Is(err, verify.ErrSecret) {
		t.Errorf("Verify with an unusable secret: %v", err)
	}
	plain := h.Clone()
	plain.Del("webhook-signature")
	for _, secret := range []string{testSecret, "not-base64-and-without-prefix"} {
		v := mustNew(t, verify.Config{AllowPlain: true}, secret)
		if _, err := v.Verify([]byte(testBody), h); !errors.Is(err, verify.ErrSignatureMismatch) {
			t.Errorf("%.6s…: signed with an empty key: %v, want ErrSignatureMismatch", secret, err)
		}
		if _, err := v.Verify([]byte(testBody), plain); !errors.Is(err, verify.ErrSignatureMismatch) {
			t.Errorf("%.6s…: signed plainly with an empty key: %v, want ErrSignatureMismatch", secret, err)
		}
	}
}

func TestV7_PlainHeader(t *testing.T) {
	good := signPlain(testSecret, testBody)
	fullWidth := strings.Map(func(r rune) rune { return r - '0' + '０' }, strings.Repeat("0", 64))
	for _, tt := range []struct {
		name   string
		values []string
		want   error
	}{
		{"right", []string{good}, nil},
		{"upper case", []string{strings.ToUpper(good)}, nil},
		{"missing", nil, verify.ErrNoSignature},
		{"empty", []string{""}, verify.ErrSignatureFormat},
		{"odd length", []string{good[:63]}, verify.ErrSignatureFormat},
		{"62 digits", []string{good[:62]}, verify.ErrSignatureFormat},
		{"65 digits", []string{good + "0"}, verify.ErrSignatureFormat},
		{"twice in one", []string{good + good}, verify.ErrSignatureFormat},
		{"not hex", []string{"g" + good[1:]}, verify.ErrSignatureFormat},
		{"prefix", []string{"sha256=" + good}, verify.ErrSignatureFormat},
		{"prefix, right length", []string{("sha256=" + good)[:64]}, verify.ErrSignatureFormat},
		{"0x", []string{"0x" + good[:62]}, verify.ErrSignatureFormat},
		{"inner space", []string{good[:32] + " " + good[32:]}, verify.ErrSignatureFormat},
		{"inner space, right length", []string{good[:32] + " " + good[33:]}, verify.ErrSignatureFormat},
		{"leading space", []string{" " + good}, verify.ErrSignatureFormat},
		{"trailing space", []string{good + " "}, verify.ErrSignatureFormat},
		{"trailing line break", []string{good + "\r\n"}, verify.ErrSignatureFormat},
		{"full-width digits", []string{fullWidth}, verify.ErrSignatureFormat},
		{"64 bytes of full-width digits", []string{fullWidth[:63] + "0"}, verify.ErrSignatureFormat},
		{"NUL", []string{strings.Repeat("\x00", 64)}, verify.ErrSignatureFormat},
		{"comma list", []string{good + "," + good}, verify.ErrSignatureFormat},
		{"comma list of wrong and right", []string{strings.Repeat("0", 64) + ", " + good}, verify.ErrSignatureFormat},
		{"base64", []string{base64.StdEncoding.EncodeToString(sum([]byte(testSecret), testBody))}, verify.ErrSignatureFormat},
		{"two values", []string{good, good}, verify.ErrHeaderRepeated},
		{"wrong and right", []string{strings.Repeat("0", 64), good}, verify.ErrHeaderRepeated},
		{"zeros", []string{strings.Repeat("0", 64)}, verify.ErrSignatureMismatch},
		{"one digit wrong", []string{flipHex(good)}, verify.ErrSignatureMismatch},
		{"another secret", []string{signPlain(oldSecret, testBody)}, verify.ErrSignatureMismatch},
		{"decoded secret as key", []string{signPlainKey(testSecret, testBody)}, verify.ErrSignatureMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := mustNew(t, verify.Config{AllowPlain: true}, testSecret)
			d, err := v.Verify([]byte(testBody), plainHeader(tt.values...))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (d == nil) != (err != nil) {
				t.Fatalf("Verify = %v, %v; want %v", d, err, tt.want)
			}
			if err == nil && (d.Scheme != verify.SchemePlain || !d.SentAt.IsZero()) {
				t.Errorf("scheme %q, sent at %v; the plain header has no time", d.Scheme, d.SentAt)
			}
		})
	}
}

func flipHex(s string) string {
	if s[0] == '0' {
		return "1" + s[1:]
	}
	return "0" + s[1:]
}

func signPlainKey(secret, body string) string {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	return signPlain(string(key), body)
}

func TestV7_StandardHeader(t *testing.T) {
	stamp := unix(testTime)
	good := signV1(testSecret, testID, stamp, testBody)
	b64 := strings.TrimPrefix(good, "v1,")
	wrong := signV1(oldSecret, testID, stamp, testBody)
	for _, tt := range []struct {
		name   string
		values []string
		want   error
	}{
		{"right", []string{good}, nil},
		{"right after wrong", []string{wrong + " " + good}, nil},
		{"right before wrong", []string{good + " " + wrong}, nil},
		{"unknown versions beside it", []string{"v2,whatever v1b,% " + good + " v9,"}, nil},
		{"v1a without a key is not read", []string{"v1a,% " + good}, nil},
		{"16 entries", []string{strings.Repeat(wrong+" ", 15) + good}, nil},
		{"17 entries", []string{strings.Repeat(wrong+" ", 16) + good}, verify.ErrSignatureFormat},
		{"17 unknown entries", []string{strings.Repeat("v2,x ", 16) + good}, verify.ErrSignatureFormat},
		{"8 KiB", []string{good + " v2," + strings.Repeat("A", 8<<10-len(good+" v2,"))}, nil},
		{"more than 8 KiB", []string{good + " v2," + strings.Repeat("A", 8<<10-len(good+" v2,")+1)}, verify.ErrSignatureFormat},
		{"empty", []string{""}, verify.ErrSignatureFormat},
		{"space", []string{" "}, verify.ErrSignatureFormat},
		{"comma", []string{","}, verify.ErrSignatureFormat},
		{"no version", []string{"," + b64}, verify.ErrSignatureFormat},
		{"no comma", []string{b64}, verify.ErrSignatureFormat},
		{"version alone", []string{"v1"}, verify.ErrSignatureFormat},
		{"empty signature", []string{"v1,"}, verify.ErrSignatureFormat},
		{"leading space", []string{" " + good}, verify.ErrSignatureFormat},
		{"trailing space", []string{good + " "}, verify.ErrSignatureFormat},
		{"two spaces", []string{wrong + "  " + good}, verify.ErrSignatureFormat},
		{"tab", []string{wrong + "\t" + good}, verify.ErrSignatureFormat},
		{"joined by a proxy", []string{good + "," + good}, verify.ErrSignatureFormat},
		{"unpadded", []string{strings.TrimRight(good, "=")}, verify.ErrSignatureFormat},
		{"more padding", []string{good + "="}, verify.ErrSignatureFormat},
		{"stray bits", []string{"v1," + b64[:42] + string(b64[42]+1) + "="}, verify.ErrSignatureFormat},
		{"url alphabet", []string{"v1," + strings.Repeat("-_", 21) + "A="}, verify.ErrSignatureFormat},
		{"line break inside", []string{"v1," + b64[:20] + "\n" + b64[21:]}, verify.ErrSignatureFormat},
		{"line break more", []string{"v1," + b64[:20] + "\r\n" + b64[20:]}, verify.ErrSignatureFormat},
		{"line break at the end", []string{good + "\n"}, verify.ErrSignatureFormat},
		{"hex", []string{"v1," + signPlain(testSecret, testBody)}, verify.ErrSignatureFormat},
		{"33 bytes", []string{"v1," + base64.StdEncoding.EncodeToString(make([]byte, 33))}, verify.ErrSignatureFormat},
		{"malformed beside right", []string{good + " v1,AAAA"}, verify.ErrSignatureFormat},
		{"two headers", []string{good, good}, verify.ErrHeaderRepeated},
		{"wrong and right header", []string{wrong, good}, verify.ErrHeaderRepeated},
		{"only unknown versions", []string{"v2," + b64 + " V1," + b64 + " v01," + b64}, verify.ErrSignatureVersion},
		{"only v1a", []string{"v1a," + b64}, verify.ErrSignatureVersion},
		{"wrong", []string{wrong}, verify.ErrSignatureMismatch},
		{"zeros", []string{"v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))}, verify.ErrSignatureMismatch},
		{"of the body alone", []string{"v1," + base64.StdEncoding.EncodeToString(sum([]byte(testSecret), testBody))}, verify.ErrSignatureMismatch},
		{"of another ID", []string{signV1(testSecret, "msg_2", stamp, testBody)}, verify.ErrSignatureMismatch},
		{"of another time", []string{signV1(testSecret, testID, "1705319999", testBody)}, verify.ErrSignatureMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := signedHeader(testBody, testTime, testSecret)
			h["Webhook-Signature"] = tt.values
			// The plain header is right and allowed, and must not help.
			v := mustNew(t, verify.Config{AllowPlain: true}, testSecret)
			d, err := v.Verify([]byte(testBody), h)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (d == nil) != (err != nil) {
				t.Fatalf("Verify = %v, %v; want %v", d, err, tt.want)
			}
			if err == nil && d.Scheme != verify.SchemeV1 {
				t.Errorf("scheme %q, want v1", d.Scheme)
			}
		})
	}
}

func TestV12_EverySecretIsTried(t *testing.T) {
	secrets := []string{oldSecret, "an-imported-secret-of-24+bytes", testSecret}
	v := mustNew(t, verify.Config{AllowPlain: true}, secrets...)
	for _, s := range secrets {
		if _, err := v.Verify([]byte(testBody), signedHeader(testBody, testTime, s)); err != nil {
			t.Errorf("standard, %.10s: %v", s, err)
		}
		if _, err := v.Verify([]byte(testBody), plainHeader(signPlain(s, testBody))); err != nil {
			t.Errorf("plain, %.10s: %v", s, err)
		}
	}
	// During a rotation either side may know only one secret.
	both := signedHeader(testBody, testTime, testSecret, oldSecret)
	for _, s := range []string{testSecret, oldSecret} {
		if _, err := mustNew(t, verify.Config{}, s).Verify([]byte(testBody), both); err != nil {
			t.Errorf("two signatures, one secret: %v", err)
		}
	}
	other := signedHeader(testBody, testTime, "whsec_"+strings.Repeat("Zm9v", 8))
	if _, err := v.Verify([]byte(testBody), other); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("a fourth secret: %v, want ErrSignatureMismatch", err)
	}
}

// Our sender uses a secret without whsec_ by its bytes; Standard Webhooks
// libraries decode it. A secret with whsec_ has one key only.
func TestUnprefixedSecretHasTwoKeys(t *testing.T) {
	const bare = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	decoded := signedHeader(testBody, testTime, "whsec_"+bare)
	raw := signedHeader(testBody, testTime, bare)
	v := mustNew(t, verify.Config{}, bare)
	for name, h := range map[string]http.Header{"decoded": decoded, "raw": raw} {
		if _, err := v.Verify([]byte(testBody), h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	rawPrefixed := signedHeader(testBody, testTime, testSecret)
	rawPrefixed.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(sum([]byte(testSecret), testID+"."+unix(testTime)+"."+testBody)))
	if _, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), rawPrefixed); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("whsec_ secret used by its bytes: %v, want ErrSignatureMismatch", err)
	}
}

func TestEd25519(t *testing.T) {
	key, pub := edKey(1)
	other, otherPub := edKey(2)
	stamp := unix(testTime)
	good := signV1a(key, testID, stamp, testBody)
	v1 := signV1(testSecret, testID, stamp, testBody)
	for _, tt := range []struct {
		name, header string
		keys         []string
		secrets      []string
		want         error
		scheme       verify.Scheme
	}{
		{"right", good, []string{pub}, nil, nil, verify.SchemeV1a},
		{"second key", good, []string{otherPub, pub}, nil, nil, verify.SchemeV1a},
		{"first key", good, []string{pub, otherPub}, nil, nil, verify.SchemeV1a},
		{"first entry", good + " " + signV1a(other, testID, stamp, testBody), []string{pub}, nil, nil, verify.SchemeV1a},
		{"second entry", signV1a(other, testID, stamp, testBody) + " " + good, []string{pub}, nil, nil, verify.SchemeV1a},
		{"v1 entry is not read", "v1,% " + good, []string{pub}, nil, nil, verify.SchemeV1a},
		{"both right", v1 + " " + good, []string{pub}, []string{testSecret}, nil, verify.SchemeV1},
		{"v1 wrong, v1a right", signV1(oldSecret, testID, stamp, testBody) + " " + good, []string{pub}, []string{testSecret}, nil, verify.SchemeV1a},
		{"v1 right, v1a wrong", v1 + " " + good, []string{otherPub}, []string{testSecret}, nil, verify.SchemeV1},
		{"wrong key", good, []string{otherPub}, nil, verify.ErrSignatureMismatch, ""},
		{"of another body", signV1a(key, testID, stamp, testBody+" "), []string{pub}, nil, verify.ErrSignatureMismatch, ""},
		{"labelled v1", "v1," + strings.TrimPrefix(good, "v1a,"), []string{pub}, []string{testSecret}, verify.ErrSignatureFormat, ""},
		{"v1 labelled v1a", "v1a," + strings.TrimPrefix(v1, "v1,"), []string{pub}, nil, verify.ErrSignatureFormat, ""},
		{"empty", "v1a,", []string{pub}, nil, verify.ErrSignatureFormat, ""},
		{"zeros", "v1a," + base64.StdEncoding.EncodeToString(make([]byte, 64)), []string{pub}, nil, verify.ErrSignatureMismatch, ""},
		{"no key", good, nil, []string{testSecret}, verify.ErrSignatureVersion, ""},
		{"v1 only", v1, []string{pub}, nil, verify.ErrSignatureVersion, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := signedHeader(testBody, testTime, testSecret)
			h.Set("webhook-signature", tt.header)
			d, err := mustNew(t, verify.Config{PublicKeys: tt.keys}, tt.secrets...).Verify([]byte(testBody), h)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if err == nil && d.Scheme != tt.scheme {
				t.Errorf("scheme %q, want %q", d.Scheme, tt.scheme)
			}
		})
	}
}

func TestV10_TimeWindow(t *testing.T) {
	for _, tt := range []struct {
		name      string
		tolerance time.Duration
		sent      time.Duration // relative to the receiver's clock
		want      error
		text      string
	}{
		{"now", 0, 0, nil, ""},
		{"at the limit", 0, -5 * time.Minute, nil, ""},
		{"at the other limit", 0, 5 * time.Minute, nil, ""},
		{"a second past", 0, -5*time.Minute - time.Second, verify.ErrTooOld, "5m1s ago, limit 5m0s"},
		{"a second ahead", 0, 5*time.Minute + time.Second, verify.ErrTooNew, "5m1s ahead"},
		{"long past", 0, -54 * 365 * 24 * time.Hour, verify.ErrTooOld, "check this machine's clock"},
		{"wider", time.Hour, -time.Hour, nil, ""},
		{"narrower", time.Second, -2 * time.Second, verify.ErrTooOld, "limit 1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := testTime.Add(tt.sent)
			d, err := mustNew(t, verify.Config{Tolerance: tt.tolerance}, testSecret).
				Verify([]byte(testBody), signedHeader(testBody, sent, testSecret))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("err = %v, want it to say %q", err, tt.text)
				}
				return
			}
			if diff := cmp.Diff(sent, d.SentAt); diff != "" {
				t.Errorf("SentAt (-want +got):\n%s", diff)
			}
		})
	}
	// The refusal of a wrong signature with an old time reveals nothing about
	// the clock.
	h := signedHeader(testBody, testTime.Add(-time.Hour), oldSecret)
	if _, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), h); !errors.Is(err, verify.ErrSignatureMismatch) {
		t.Errorf("old and wrong: %v, want ErrSignatureMismatch", err)
	}
}

// Each timestamp is signed as it is, so that only its format can be refused.
func TestV10_TimestampHeaderFormat(t *testing.T) {
	for _, stamp := range []string{
		"", " ", "+1705320000", "-1705320000", " 1705320000", "1705320000 ", "01705320000", "00",
		"1705320000.0", "1.7e9", "0x65a5", "1_705_320_000", "1,705", "now", "2024-01-15T12:00:00Z",
		"１７０５３２００００", "1705320000\n", "170532000/", "170532000:", "1705320000000", "1705320000000000", "9223372036854775808", strings.Repeat("9", 400), "\x00",
	} {
		h := signedHeader(testBody, testTime, testSecret)
		h["Webhook-Timestamp"] = []string{stamp}
		h.Set("webhook-signature", signV1(testSecret, testID, stamp, testBody))
		_, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), h)
		if !errors.Is(err, verify.ErrTimestampFormat) {
			t.Errorf("%.30q: %v, want ErrTimestampFormat", stamp, err)
		}
	}
	for stamp, want := range map[string]error{"0": verify.ErrTooOld, "999999999999": verify.ErrTooNew, "1705320000": nil} {
		h := signedHeader(testBody, testTime, testSecret)
		h.Set("webhook-timestamp", stamp)
		h.Set("webhook-signature", signV1(testSecret, testID, stamp, testBody))
		_, err := mustNew(t, verify.Config{}, testSecret).Verify([]byte(testBody), h)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", stamp, err, want)
		}
	}
}

func TestV11_IDHeader(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		want   error
	}{
		{"missing", nil, verify.ErrNoID},
		{"empty", []string{""}, verify.ErrIDFormat},
		{"dot", []string{"msg.1"}, verify.ErrIDFormat},
		{"comma", []string{"msg,1"}, verify.ErrIDFormat},
		{"space", []string{"msg 1"}, verify.ErrIDFormat},
		{"line break", []string{"msg\n1"}, verify.ErrIDFormat},
		{"not ASCII", []string{"müg"}, verify.ErrIDFormat},
		{"DEL", []string{"msg\x7f"}, verify.ErrIDFormat},
		{"the first and last visible characters", []string{"!msg~"}, nil},
		{"256 bytes", []string{strings.Repeat("a", 256)}, verify.ErrIDFormat},
		{"255 bytes", []string{strings.Repeat("a", 255)}, nil},
		{"two", []string{"msg_1", "msg_1"}, verify.ErrHeaderRepeated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := signedHeader(testBody, testTime, testSecret)
			delete(h, "Webhook-Id")
			if tt.values != nil {
				h["Webhook-Id"] = tt.values
				h.Set("webhook-signature", signV1(testSecret, tt.values[0], unix(testTime), testBody))
			}
			v := mustNew(t, verify.Config{AllowPlain: true}, testSecret)
			d, err := v.Verify([]byte(testBody), h)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if err == nil && (d.ID != tt.values[0] || d.DedupKey() != "wh_1."+tt.values[0]) {
				t.Errorf("ID %q, key %q", d.ID, d.DedupKey())
			}
			// With the plain signature the ID is optional, but must be
			// well-formed.
			h.Del("webhook-signature")
			want := tt.want
			if tt.values == nil {
				want = nil
			}
			_, err = v.Verify([]byte(testBody), h)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("plain: err = %v, want %v", err, want)
			}
		})
	}
}

// If IDs could contain dots, two different triples could have the same signed
// text.
func TestSignedTextIsUnambiguous(t *testing.T) {
	h := http.Header{}
	h.Set("webhook-id", "a.1705320000")
	h.Set("webhook-timestamp", "1705320000")
	h.Set("webhook-signature", signV1(testSecret, "a", "1705320000", "1705320000."+testBody))
	if _, err := mustNew(t, verify.Config{AnyBody: true}, testSecret).Verify([]byte(testBody), h); !errors.Is(err, verify.ErrIDFormat) {
		t.Errorf("err = %v, want ErrIDFormat", err)
	}
}
