package ecmajson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"
)

func FuzzAppend(f *testing.F) {
	for _, rows := range [][]row{tableVA, stringRows, objectRows, numberRows, syntaxRows} {
		for _, r := range rows {
			f.Add([]byte(r.src))
		}
	}
	for _, doc := range readCorpus(f) {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		out, err := Append([]byte("dst"), src, Limits{})
		if !bytes.Equal(src, before) {
			t.Fatal("src was changed")
		}
		valid := json.Valid(src)
		if err != nil {
			if string(out) != "dst" {
				t.Fatalf("dst is %q after %v", out, err)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Path == "" || e.Reason == "" || e.Offset < 0 || e.Offset > len(src) {
				t.Fatalf("error %#v", err)
			}
			if valid {
				if want := judge(src, DefaultMaxDepth); !errors.Is(err, want) {
					t.Fatalf("error is %v, want %v", err, want)
				}
			}
			return
		}
		out = out[len("dst"):]
		if !valid {
			t.Fatalf("%q is not JSON and became %q", src, out)
		}
		if want := judge(src, DefaultMaxDepth); want != nil {
			t.Fatalf("became %q, want %v", out, want)
		}
		if !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("output %q is not valid", out)
		}
		again, err := Append(nil, out, Limits{MaxBytes: len(out)})
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("output %q becomes %q, %v", out, again, err)
		}
		// encoding/json turns a lone surrogate into U+FFFD, counts the replacements
		// of invalid UTF-8 differently, and does not read exponents beyond 10000,
		// which as many zeros can bring back into range.
		if lower := bytes.ToLower(src); len(src) > 8000 || !utf8.Valid(src) || bytes.Contains(lower, []byte(`\ud`)) {
			return
		}
		var was, is any
		if err := json.Unmarshal(src, &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &is); err != nil {
			t.Fatal(err)
		}
		// Not cmp.Diff, which takes time exponential in the nesting.
		if !reflect.DeepEqual(was, is) {
			t.Fatalf("%q has become another value, %q", src, out)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, r := range stringRows {
		f.Add(r.src)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := AppendString(nil, s)
		again, err := Append(nil, out, Limits{})
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q written as %q, read as %q, %v", s, out, again, err)
		}
		if utf8.ValidString(s) {
			var back string
			if err := json.Unmarshal(out, &back); err != nil || back != s {
				t.Fatalf("%q written as %q, decoded as %q, %v", s, out, back, err)
			}
		}
	})
}

// FuzzNode compares with Node, as the other targets do with encoding/json and with
// this package's own rules.
func FuzzNode(f *testing.F) {
	for _, rows := range [][]row{tableVA, stringRows, objectRows, numberRows, syntaxRows} {
		for _, r := range rows {
			f.Add([]byte(r.src))
		}
	}
	node := startOracle(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		var count verdicts
		node.compare(t, [][]byte{src}, &count)
	})
}
