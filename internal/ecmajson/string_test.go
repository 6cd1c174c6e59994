package ecmajson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Eight bytes are checked together while there are as many: the result must be the
// same as for each byte alone, whatever byte is where.
func TestAppendStringLooksAtEveryByte(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		one := string([]byte{byte(c)})
		inside := strings.Trim(string(AppendString(nil, one)), `"`)
		if one == `"` {
			inside = `\"`
		}
		for before := range 17 {
			for _, after := range []int{0, 7, 8, 9} {
				left, right := strings.Repeat("a", before), strings.Repeat("~", after)
				want := `"` + left + inside + right + `"`
				if got := string(AppendString(nil, left+one+right)); got != want {
					t.Fatalf("byte %#x after %d and before %d others: %s, want %s", c, before, after, got, want)
				}
			}
		}
	}
}

// The reader checks eight bytes at a time too: at every place it must find bytes
// that are not plain, and only those.
func TestAppendLooksAtEveryByte(t *testing.T) {
	for at := range 17 {
		for c := range 256 {
			doc := []byte(`["` + strings.Repeat("a", at) + string([]byte{byte(c)}) + strings.Repeat("a", 17-at) + `"]`)
			out, err := Append(nil, doc, Limits{})
			if valid := json.Valid(doc); (err == nil) != valid {
				t.Fatalf("%q: %v, want it accepted: %v", doc, err, valid)
			}
			want := bytes.ReplaceAll(doc, []byte{byte(c)}, []byte("\uFFFD"))
			if c < 0x80 {
				want = doc
			}
			if err == nil && !bytes.Equal(out, want) {
				t.Fatalf("%q became %q", doc, out)
			}
		}
	}
}
