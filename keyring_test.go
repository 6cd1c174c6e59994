package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// NewTestKey returns a key of its own for each n.
func NewTestKey(id string, n byte) EncryptionKey {
	return EncryptionKey{ID: id, Key: bytes.Repeat([]byte{n}, 32)}
}

func MustKeyring(t testing.TB, primary EncryptionKey, older ...EncryptionKey) *Keyring {
	t.Helper()
	k, err := NewKeyring(primary, older...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyringRefusesBadKeys(t *testing.T) {
	for want, keys := range map[string][]EncryptionKey{
		"is 31 bytes long, must be 32": {{ID: "a", Key: make([]byte, 31)}},
		"is 0 bytes long":              {{ID: "a"}},
		"ID of a key must be":          {{Key: make([]byte, 32)}},
		"two keys have the ID":         {NewTestKey("a", 1), NewTestKey("b", 2), NewTestKey("a", 3)},
		`got "a:b"`:                    {NewTestKey("a:b", 1)},
		"1–32 characters":              {NewTestKey(strings.Repeat("a", 33), 1)},
	} {
		if _, err := NewKeyring(keys[0], keys[1:]...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that says %q", err, want)
		}
	}
	key := NewTestKey("a", 7)
	k := MustKeyring(t, key)
	clear(key.Key) // it was copied
	sealed := k.seal(place{"t", "w", ""}, "text")
	if got, err := MustKeyring(t, NewTestKey("a", 7)).unseal(place{"t", "w", ""}, sealed); got != "text" {
		t.Errorf("unsealed %q, %v", got, err)
	}
}

func TestParseKeyring(t *testing.T) {
	b64 := func(n byte) string { return base64.StdEncoding.EncodeToString(NewTestKey("", n).Key) }
	k, err := ParseKeyring("\n new:" + b64(1) + ",\told:" + strings.TrimRight(b64(2), "=") + "\r\n")
	if err != nil {
		t.Fatal(err)
	}
	p := place{"t", "w", ""}
	if v := k.seal(p, "x"); sealedBy(v) != "new" {
		t.Errorf("the first key does not encrypt: %q", v)
	}
	if got, err := k.unseal(p, MustKeyring(t, NewTestKey("old", 2)).seal(p, "was")); got != "was" {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{
		"": "there is no key", " , ": "there is no key", b64(1): "not id:base64", "a:" + b64(1) + "!": "not base64",
		"a:bWFya2VyLW1hcmtlci1tYXJrZXI=": "is 20 bytes long",
	} {
		_, err := ParseKeyring(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error that says %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), b64(1)[:8]) || strings.Contains(err.Error(), "bWFya2Vy") || strings.Contains(err.Error(), "marker")) {
			t.Errorf("%v shows a key", err)
		}
	}
}

func TestP5_ValuesOpenInTheirPlaceOnly(t *testing.T) {
	k := MustKeyring(t, NewTestKey("a", 1), NewTestKey("b", 2))
	home := place{"tenant", "wh_1", ""}
	v := k.seal(home, "marker")
	if strings.Contains(v, "marker") || !sealed(v) {
		t.Fatalf("sealed: %q", v)
	}
	if w := k.seal(home, "marker"); v == w {
		t.Error("the same value is encrypted to the same text twice")
	}
	if got, err := k.unseal(home, v); got != "marker" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	for _, p := range []place{
		{"other", "wh_1", ""}, {"tenant", "wh_2", ""}, {"tenant", "wh_1", "X-Key"}, {"", "tenant\x00wh_1", ""}, {"tenant\x00wh_1", "", ""},
	} {
		if got, err := k.unseal(p, v); !errors.Is(err, ErrUnreadable) || got != "" {
			t.Errorf("opened at %q: %q, %v", p, got, err)
		}
	}
	h := k.seal(place{"tenant", "wh_1", "X-Key"}, "token")
	if _, err := k.unseal(place{"tenant", "wh_1", "X-Debug"}, h); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a header's value opens under another name: %v", err)
	}
}

func TestP5_WrongKeyMissingKeyAndDamage(t *testing.T) {
	p := place{"t", "w", ""}
	right := MustKeyring(t, NewTestKey("a", 1))
	v := right.seal(p, "marker")
	raw := strings.TrimPrefix(v, sealedMark+"a:")
	flip := func(i int) string {
		b, _ := base64.RawURLEncoding.DecodeString(raw)
		b[i] ^= 1
		return sealedMark + "a:" + base64.RawURLEncoding.EncodeToString(b)
	}
	var none *Keyring
	for _, c := range []struct {
		what, value, want string
		keys              *Keyring
	}{
		{"another key of that name", v, `key "a" does not fit`, MustKeyring(t, NewTestKey("a", 2))},
		{"key removed", v, `needs key "a", which is not in Config.Keys`, MustKeyring(t, NewTestKey("b", 1))},
		{"no keyring", v, `needs key "a", and Config.Keys is not set`, none},
		{"under another name", strings.Replace(v, ":a:", ":b:", 1), `key "b" does not fit`, MustKeyring(t, NewTestKey("a", 1), NewTestKey("b", 1))},
		{"nonce changed", flip(0), `does not fit`, right},
		{"text changed", flip(12), `does not fit`, right},
		{"tag changed", flip(len(raw)*3/4 - 1), `does not fit`, right},
		{"cut short", v[:len(v)-4], `cannot be decrypted`, right},
		{"empty", sealedMark + "a:", `does not fit`, right},
		{"no base64", sealedMark + "a:!", "damaged", right},
		{"no key", sealedMark, "damaged", right},
		{"odd key", sealedMark + "a b:" + raw, "damaged", right},
	} {
		got, err := c.keys.unseal(p, c.value)
		if !errors.Is(err, ErrUnreadable) || got != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; want an error that says %q", c.what, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), raw[:10]) {
			t.Errorf("%s: the error shows the value", c.what)
		}
	}
	for _, plain := range []string{"", "whsec_abc", "§", "§1", "§2:a:" + raw} {
		for _, k := range []*Keyring{right, none} {
			if got, err := k.unseal(p, plain); got != plain || err != nil {
				t.Errorf("plain %q: %q, %v", plain, got, err)
			}
		}
	}
}

func TestR15_KeysAreNeverPrinted(t *testing.T) {
	key := EncryptionKey{ID: "id1", Key: []byte("marker-marker-marker-marker-mark")}
	k := MustKeyring(t, key, NewTestKey("id2", 2))
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	log.Info("x", "key", key, "keys", k, "none", (*Keyring)(nil), "config", Config{Keys: k})
	out := logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		out += fmt.Sprintf(verb+verb+verb, key, k, Config{Keys: k})
	}
	for _, form := range []string{"marker", fmt.Sprintf("%x", "marker"), fmt.Sprint([]byte("marker"))[1:15], "0x6d, 0x61"} {
		if strings.Contains(out, form) {
			t.Errorf("the key is printed as %q: %s", form, out)
		}
	}
	if !strings.Contains(out, "id1") || !strings.Contains(out, "id2") {
		t.Errorf("the IDs are not: %s", out)
	}
}

func FuzzUnseal(f *testing.F) {
	k := MustKeyring(f, NewTestKey("a", 1))
	p := place{"t", "w", "h"}
	f.Add(k.seal(p, "text"))
	f.Add("plain")
	f.Add(sealedMark + "a:")
	f.Fuzz(func(t *testing.T, v string) {
		got, err := k.unseal(p, v)
		if !sealed(v) && (got != v || err != nil) {
			t.Errorf("plain %q became %q, %v", v, got, err)
		}
		if sealed(v) && err == nil {
			// Only the key makes a sealed value: it must be the value of f.Add.
			if got != "text" {
				t.Errorf("a forged value opens as %q", got)
			}
		}
		if again, err := k.unseal(p, k.seal(p, v)); again != v || err != nil {
			t.Errorf("%q came back as %q, %v", v, again, err)
		}
	})
}

// Whatever stands in the environment variable, it is a working keyring or an
// error that tells no key.
func FuzzParseKeyring(f *testing.F) {
	b64 := base64.StdEncoding.EncodeToString(NewTestKey("", 1).Key)
	for _, s := range []string{"a:" + b64, "a:" + b64 + " b:" + b64, "a:" + b64 + ",a:" + b64, "a" + b64, ":" + b64, "a:" + b64[:40], "a:b:" + b64, " ,\n", "", "a:" + b64 + "==="} {
		f.Add(s)
	}
	p := place{"t", "w", "h"}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKeyring(text)
		if err != nil {
			if k != nil || !strings.HasPrefix(err.Error(), "webhook: keyring: ") {
				t.Fatalf("%v, %v", k, err)
			}
			for _, field := range strings.Fields(strings.ReplaceAll(text, ",", " ")) {
				if _, key, ok := strings.Cut(field, ":"); ok && len(key) >= 40 && strings.Contains(err.Error(), key) {
					t.Fatalf("the error of %q tells a key: %v", text, err)
				}
			}
			return
		}
		for _, id := range k.ids {
			if !validKeyID(id) {
				t.Errorf("%q gives the key %q", text, id)
			}
		}
		v := k.seal(p, "text")
		if got, err := k.unseal(p, v); got != "text" || err != nil || sealedBy(v) != k.ids[0] {
			t.Errorf("%q seals as %q, which opens as %q, %v", text, v, got, err)
		}
	})
}
