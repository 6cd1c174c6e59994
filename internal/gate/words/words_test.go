package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCounterHasTeeth(t *testing.T) {
	for _, tt := range []struct {
		name, file, text string
		want             string // the hits, one a line
	}{
		{"a plain comment", "a.go", "package a\n\n// F returns the number of rows.\nfunc F() {}\n", ""},
		{"what as a noun", "a.go", "package a\n\n// F counts what is left.\n", "a.go:3: what is left."},
		{"at the end of a line of code", "a.go", "package a\n\nvar x int // what is left\n", "a.go:3: what is left"},
		{"what to", "a.go", "package a\n\n// F says what to do.\n", ""},
		{"a question", "a.go", "package a\n\n// What does it do?\n", ""},
		{"a question later", "a.go", "package a\n\n// It does what it does. Why?\n", "a.go:3: what it does. Why?"},
		{"one that, over two lines", "a.go", "package a\n\n// F returns the one\n// that is left.\n", "a.go:3: one that is left."},
		{"over two comments", "a.go", "package a\n\n// F returns one\n\n// that is left.\n", ""},
		{"over two paragraphs", "a.go", "package a\n\n// F returns one\n//\n// that is left.\n", ""},
		{"nothing", "a.go", "package a\n\n// Nobody knows, nor sees it.\n", "a.go:3: Nobody knows, nor sees it.\na.go:3: nor sees it."},
		{"a string", "a.go", "package a\n\nconst s = \"// what is left\"\n", ""},
		{"a directive", "a.go", "package a\n\nvar x = 1 //nolint:what // nothing\n\n//go:generate what is nothing\n", ""},
		{"code in a comment", "a.go", "package a\n\n// Run:\n//\n//\twhat is nothing\n", ""},
		{"a test", "a_test.go", "package a\n\n// what is left\n", ""},
		{"a page", "a.md", "# Title\n\nIt is\nwhat it is.\n", "a.md:4: what it is."},
		{"code in a page", "a.md", "Run `what` and \"what else\nis there\":\n\n```\nwhat is nothing\n```\n\n<!-- what -->\n[x](what.md)\n", ""},
		{"behind code", "a.md", "```\nx\n```\nwhat is left\n", "a.md:4: what is left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := part{"all", []string{"*.go", "*.md"}}.read(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			_, hits := p.find()
			for _, form := range hits {
				for _, h := range form {
					got = append(got, h.at+": "+h.text)
				}
			}
			if got := strings.Join(got, "\n"); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	words := func(n int, more string) string {
		return "package a\n\n// " + strings.Repeat("word ", n) + more + "\n"
	}
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"below", words(2000, "what is"), true},
		{"at the limit", words(1998, "what is"), false},
		{"below the limit of nothing", words(1000, "nothing"), true},
		{"no words", "package a\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			ok, err := check(&out, dir, []part{{"all", []string{"*.go"}}}, true)
			if err != nil || ok != tt.want {
				t.Errorf("ok %v, error %v; want %v:\n%s", ok, err, tt.want, out.String())
			}
			if strings.Contains(tt.text, "what") != strings.Contains(out.String(), "a.go:3: what is") {
				t.Errorf("the place is not listed:\n%s", out.String())
			}
		})
	}
}
