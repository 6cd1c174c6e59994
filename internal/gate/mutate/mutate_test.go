package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample has one function that its tests hold to everything, and others that they
// reach and hold to nothing, or do not reach.
const sample = `package sample

import "errors"

var list = []string{"a", "b"}

func Held(n int) (bool, error) {
	if n < 0 {
		return false, errors.New("negative")
	}
	return n > 10, nil
}

func Loose(n int, s string) (sum int) {
	for i := 0; i < n; i++ {
		sum += i
	}
	switch s {
	case "twice":
		sum *= 2
	}
	if n == 3 || s != "" {
		sum++
	}
	return min(sum, 100)
}

func Never(p *int) int {
	defer func() { *p = 1 }()
	return *p<<1 + len(list)
}
`

const sampleTest = `package sample

import "testing"

func TestHeld(t *testing.T) {
	for n, want := range map[int]bool{0: false, 8: false, 9: false, 10: false, 11: true, 12: true} {
		if got, err := Held(n); got != want || err != nil {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
	if got, err := Held(-1); got || err == nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLoose(*testing.T) { Loose(3, "twice") }
`

func TestWhatNoTestNoticesIsFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/sample\n\ngo 1.26\n", "sample.go": sample, "sample_test.go": sampleTest} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOWORK", "off")
	var out bytes.Buffer
	sum, err := mutate(t.Context(), []string{dir}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sample.go:15:14: survived: loop on i < n never entered",
		"sample.go:16:3: survived: sum += i removed",
		"sample.go:16:3: survived: sum += i: the other sign",
		`sample.go:19:7: survived: case "twice" never taken`,
		"sample.go:20:3: survived: sum *= 2 removed",
		"sample.go:20:10: survived: 2 -> +1",
		`sample.go:22:5: survived: n == 3 || s != "": || -> &&`,
		"sample.go:22:5: survived: n == 3 -> true",
		"sample.go:23:3: survived: sum++ -> sum--",
		"sample.go:25:9: survived: return min(sum, 100) -> the zero value",
		"sample.go:25:9: survived: min(sum, 100) -> sum",
		"sample.go:29:2: not covered: defer func() { *p = 1 }() removed",
		"sample.go:30:9: not covered: *p<<1: << -> >>",
	} {
		if !strings.Contains(out.String(), want+" (") {
			t.Errorf("not among what was found: %s", want)
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "sample.go:8:") || strings.HasPrefix(line, "sample.go:9:") || strings.HasPrefix(line, "sample.go:11:") {
			t.Errorf("the tests do notice this: %s", line)
		}
	}
	if sum.killed < 10 || sum.survived < 10 || sum.unreached < 3 || sum.mutants != sum.killed+sum.late+sum.unreached+sum.survived {
		t.Errorf("counts: %v", sum)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
