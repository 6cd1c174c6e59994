package whsec

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

func TestV6_NewSecretIs32RandomBytes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := New()
		if err := Check(s); err != nil {
			t.Fatalf("Check(New()): %v", err)
		}
		rest, ok := strings.CutPrefix(s, Prefix)
		if !ok {
			t.Fatalf("New() has no %q prefix", Prefix)
		}
		b, err := base64.StdEncoding.DecodeString(rest)
		if err != nil || len(b) != 32 {
			t.Fatalf("New() decodes to %d bytes, %v; want 32", len(b), err)
		}
		if !bytes.Equal(Key(s), b) {
			t.Fatal("Key(New()) is not the decoded part")
		}
		if seen[s] {
			t.Fatal("New() repeated itself")
		}
		seen[s] = true
	}
}

func b64(n int) string    { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
func b64raw(n int) string { return base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }

func TestKeyDecodesBase64AfterThePrefix(t *testing.T) {
	raw := func(s string) []byte { return []byte(s) }
	dec := func(n int) []byte { return bytes.Repeat([]byte{0xfb}, n) }
	url := strings.ReplaceAll(strings.ReplaceAll(b64(32), "+", "-"), "/", "_")
	for _, tt := range []struct {
		name, secret string
		want         []byte
	}{
		{"padded", "whsec_" + b64(32), dec(32)},
		{"unpadded", "whsec_" + b64raw(32), dec(32)},
		{"no padding needed", "whsec_" + b64(24), dec(24)},
		{"25 bytes unpadded", "whsec_" + b64raw(25), dec(25)},
		{"stray bits in the last character", "whsec_" + b64raw(32)[:42] + "t=", dec(32)},
		{"decodes too short", "whsec_" + b64(23), raw("whsec_" + b64(23))},
		{"not base64", "whsec_this-is-not-base64-but-long-enough", raw("whsec_this-is-not-base64-but-long-enough")},
		{"url alphabet", "whsec_" + url, raw("whsec_" + url)},
		{"wrong padding", "whsec_" + b64(32) + "=", raw("whsec_" + b64(32) + "=")},
		{"line break inside", "whsec_" + b64(24)[:16] + "\n" + b64(24)[16:], raw("whsec_" + b64(24)[:16] + "\n" + b64(24)[16:])},
		{"no prefix", b64(32), raw(b64(32))},
		{"prefix twice", "whsec_whsec_" + b64(32), raw("whsec_whsec_" + b64(32))},
		{"prefix in capitals", "WHSEC_" + b64(32), raw("WHSEC_" + b64(32))},
		{"prefix only", "whsec_", raw("whsec_")},
		{"empty", "", raw("")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Key(tt.secret); !bytes.Equal(got, tt.want) {
				t.Errorf("Key(%q) = %x, want %x", tt.secret, got, tt.want)
			}
		})
	}
}

func TestV6_CheckRefusesWeakSecrets(t *testing.T) {
	for _, tt := range []struct {
		name, secret string
		want         string // part of the error; empty if the secret is accepted
	}{
		{"generated form", "whsec_" + b64(32), ""},
		{"24 raw bytes", strings.Repeat("k", 24), ""},
		{"512 raw bytes", strings.Repeat("k", 512), ""},
		{"prefix and not base64", "whsec_my-own-phrase-is-long-enough", "not base64"},
		{"prefix and the URL alphabet", "whsec_" + strings.Repeat("-_", 20), "not base64"},
		{"punctuation", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", ""},
		{"empty", "", "empty"},
		{"23 bytes", strings.Repeat("k", 23), "23 bytes"},
		{"513 bytes", strings.Repeat("k", 513), "513 bytes"},
		{"prefix only", "whsec_", "6 bytes"},
		{"decodes to 23", "whsec_" + b64(23), "23 bytes"},
		{"decodes to 14", "whsec_" + b64raw(14), "14 bytes"},
		{"trailing line break", "whsec_" + b64(32) + "\n", "byte 50"},
		{"leading space", " whsec_" + b64(32), "byte 0"},
		{"inner space", strings.Repeat("k", 12) + " " + strings.Repeat("k", 12), "byte 12"},
		{"NUL", strings.Repeat("k", 30) + "\x00", "byte 30"},
		{"DEL", strings.Repeat("k", 30) + "\x7f", "byte 30"},
		{"umlaut", strings.Repeat("k", 30) + "ü", "byte 30"},
		{"not UTF-8", strings.Repeat("k", 30) + "\xff", "byte 30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.secret)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Check: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Check = %v, want an error naming %q", err, tt.want)
			}
		})
	}
}

func FuzzSecret(f *testing.F) {
	for _, s := range []string{"", "whsec_", "whsec_" + b64(32), b64raw(25), "whsec_" + b64(23), "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := Check(s)
		if err != nil {
			if core := strings.TrimPrefix(s, Prefix); len(core) >= 12 && strings.Contains(err.Error(), core) {
				t.Errorf("Check(%q) leaks the secret: %v", s, err)
			}
			return
		}
		if n := len(Key(s)); n < MinLen {
			t.Errorf("Check accepted %q, whose key has %d bytes", s, n)
		}
	})
}
