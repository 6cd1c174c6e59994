package rules_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/gate/rules"
)

// good is a module that breaks no rule; a case changes a file or adds one.
// The modules it requires are folders beside it, so that nothing is fetched.
var good = map[string]string{
	"go.mod": `module example.com/m

go 1.26

require (
	github.com/cenkalti/backoff/v4 v4.0.0
	github.com/google/go-cmp v0.0.0
	golang.org/x/sync v0.0.0
	example.com/driver v0.0.0
)

replace (
	github.com/cenkalti/backoff/v4 => ./other/backoff
	github.com/google/go-cmp => ./other/cmp
	golang.org/x/sync => ./other/sync
	example.com/driver => ./other/driver
)
`,
	"other/backoff/go.mod":     "module github.com/cenkalti/backoff/v4\n",
	"other/backoff/b.go":       "package backoff\n",
	"other/cmp/go.mod":         "module github.com/google/go-cmp\n",
	"other/cmp/cmp/c.go":       "package cmp\n",
	"other/sync/go.mod":        "module golang.org/x/sync\n",
	"other/sync/errgroup/e.go": "package errgroup\n",
	"other/driver/go.mod":      "module example.com/driver\n",
	"other/driver/d.go":        "package driver\n",

	"m.go":                      pkg("m", "net/http", "github.com/cenkalti/backoff/v4", "example.com/m/internal/both"),
	"m_test.go":                 pkg("m_test", "github.com/google/go-cmp/cmp"),
	"internal/both/b.go":        pkg("both", "strings"),
	"verify/v.go":               pkg("verify", "example.com/m/internal/both"),
	"sqlitestore/s.go":          pkg("sqlitestore", "example.com/m", "golang.org/x/sync/errgroup", "database/sql"),
	"storetest/s.go":            pkg("storetest", "example.com/m", "github.com/google/go-cmp/cmp"),
	"webhooktest/w.go":          pkg("webhooktest", "example.com/m", "example.com/m/verify"),
	"portal/p.go":               pkg("portal", "example.com/m"),
	"sqlitestore/own_test.go":   pkg("sqlitestore", "example.com/m/storetest"),
	"verify/verify_ext_test.go": pkg("verify_test", "example.com/m"),
}

// pkg returns the source of a file that imports those packages.
func pkg(name string, imports ...string) string {
	var b strings.Builder
	b.WriteString("package " + name + "\n")
	for _, path := range imports {
		b.WriteString("import _ \"" + path + "\"\n")
	}
	return b.String()
}

// write puts the files into a folder of their own; an empty text leaves one out.
func write(t *testing.T, base, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := maps.Clone(base)
	maps.Copy(files, change)
	for name, text := range files {
		if text == "" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// expect checks that exactly one thing was found, and that it says so; with want
// empty, that nothing was.
func expect(t *testing.T, found []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("found %q in what breaks no rule", found)
	case want != "" && len(found) == 0:
		t.Errorf("found nothing, want %q", want)
	case want != "" && !strings.Contains(strings.Join(found, "\n"), want):
		t.Errorf("found %q, want %q", found, want)
	}
}

func TestImportRulesHaveTeeth(t *testing.T) {
	tests := []struct {
		name   string
		change map[string]string
		want   string
	}{
		{"a good module", nil, ""},
		{"no root", map[string]string{"m.go": "", "m_test.go": "", "sqlitestore/s.go": "", "storetest/s.go": "", "webhooktest/w.go": "", "portal/p.go": "", "sqlitestore/own_test.go": "", "verify/verify_ext_test.go": ""}, "example.com/m has no Go files"},
		{"no verify", map[string]string{"verify/v.go": "", "webhooktest/w.go": "", "verify/verify_ext_test.go": ""}, "example.com/m/verify has no Go files"},
		{"verify imports the root", map[string]string{"verify/v.go": pkg("verify", "example.com/m"), "webhooktest/w.go": ""}, "verify reaches example.com/m:"},
		{"verify reaches the root through internal", map[string]string{"verify/v.go": pkg("verify", "example.com/m/internal/back"), "internal/back/b.go": pkg("back", "example.com/m")}, "verify reaches example.com/m:"},
		{"verify imports another module", map[string]string{"verify/v.go": pkg("verify", "golang.org/x/sync/errgroup")}, "verify reaches golang.org/x/sync/errgroup"},
		{"a package below verify imports another module", map[string]string{"verify/sub/s.go": pkg("sub", "github.com/cenkalti/backoff/v4")}, "verify/sub reaches github.com/cenkalti/backoff/v4"},
		{"internal imports the root", map[string]string{"internal/back/b.go": pkg("back", "example.com/m")}, "internal/back reaches the root"},
		{"the root imports verify", map[string]string{"m.go": pkg("m", "example.com/m/verify")}, "the root reaches example.com/m/verify"},
		{"the root reaches portal through internal", map[string]string{"m.go": pkg("m", "example.com/m/internal/up"), "internal/up/u.go": pkg("up", "example.com/m/portal"), "portal/p.go": pkg("portal", "net/http")}, "the root reaches example.com/m/portal"},
		{"the root on Windows only", map[string]string{"m_windows.go": pkg("m", "example.com/driver")}, ""},
		{"the root imports a driver", map[string]string{"m.go": pkg("m", "example.com/driver")}, "example.com/m reaches example.com/driver"},
		{"the root imports go-cmp", map[string]string{"m.go": pkg("m", "github.com/google/go-cmp/cmp")}, "example.com/m reaches github.com/google/go-cmp/cmp"},
		{"a store imports a driver", map[string]string{"pgstore/p.go": pkg("pgstore", "example.com/driver")}, "pgstore reaches example.com/driver"},
		{"storetest imports a store", map[string]string{"storetest/s.go": pkg("storetest", "example.com/m/sqlitestore"), "sqlitestore/own_test.go": ""}, "storetest reaches example.com/m/sqlitestore"},
		{"storetest imports a driver", map[string]string{"storetest/s.go": pkg("storetest", "example.com/driver")}, "storetest reaches example.com/driver"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			g, err := rules.Load(t.Context(), write(t, good, tc.change), "linux")
			if err != nil {
				t.Fatal(err)
			}
			expect(t, rules.CheckImports(g, "example.com/m"), tc.want)
		})
	}
	t.Run("the same on Windows", func(t *testing.T) {
		g, err := rules.Load(t.Context(), write(t, good, map[string]string{"m_windows.go": pkg("m", "example.com/driver")}), "windows")
		if err != nil {
			t.Fatal(err)
		}
		expect(t, rules.CheckImports(g, "example.com/m"), "example.com/m reaches example.com/driver")
	})
}

func TestGoModRulesHaveTeeth(t *testing.T) {
	const three = "require (\ngithub.com/cenkalti/backoff/v4 v4.3.0\ngithub.com/google/go-cmp v0.7.0\ngolang.org/x/sync v0.24.0\n)\n"
	tests := []struct{ name, mod, want string }{
		{"as it should be", "module m\ngo 1.26\n" + three, ""},
		{"a later Go", "module m\ngo 1.27.1\n" + three, ""},
		{"an older Go", "module m\ngo 1.25.9\n" + three, "older than go1.26"},
		{"no go line", "module m\n" + three, "older than go1.26"},
		{"a fourth module", "module m\ngo 1.26\n" + three + "require example.com/x v1.0.0\n", "want exactly"},
		{"a fourth module, indirect", "module m\ngo 1.26\n" + three + "require example.com/x v1.0.0 // indirect\n", "indirectly"},
		{"one too few", "module m\ngo 1.26\nrequire golang.org/x/sync v0.24.0\n", "want exactly"},
		{"a replacement", "module m\ngo 1.26\n" + three + "replace golang.org/x/sync => ../sync\n", "replaces"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir := write(t, map[string]string{"go.mod": tc.mod}, nil)
			found, err := rules.CheckGoMod(t.Context(), filepath.Join(dir, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, found, tc.want)
		})
	}
}

func TestSourceRulesHaveTeeth(t *testing.T) {
	const head = "package m\nimport \"net/http\"\n"
	tests := []struct{ name, file, text, want string }{
		{"a client of its own", "a.go", head + "var c = &http.Client{}\nfunc f(r *http.Request) (*http.Response, error) { return c.Do(r) }\n", ""},
		{"a method that is called Get", "a.go", head + "func f(h http.Header, c *http.Client) { _ = h.Get(\"x\"); _, _ = c.Get(\"x\") }\n", ""},
		{"DefaultClient", "a.go", head + "var c = http.DefaultClient\n", "a.go:3: http.DefaultClient"},
		{"DefaultTransport in a type assertion", "a.go", head + "var c = http.DefaultTransport.(*http.Transport).Clone()\n", "http.DefaultTransport"},
		{"Get", "a.go", head + "func f() { http.Get(\"x\") }\n", "http.Get"},
		{"Head as a value", "a.go", head + "var f = http.Head\n", "http.Head"},
		{"Post", "a.go", head + "func f() { http.Post(\"x\", \"\", nil) }\n", "http.Post"},
		{"PostForm", "a.go", head + "func f() { http.PostForm(\"x\", nil) }\n", "http.PostForm"},
		{"under another name", "a.go", "package m\nimport nh \"net/http\"\nvar c = nh.DefaultClient\n", "http.DefaultClient"},
		{"with a dot", "a.go", "package m\nimport . \"net/http\"\nvar c = DefaultClient\n", "with a dot"},
		{"below", "portal/a.go", head + "var c = http.DefaultClient\n", "portal/a.go:3"},
		{"for another platform", "a_plan9.go", head + "var c = http.DefaultClient\n", "a_plan9.go:3"},
		{"in a test", "a_test.go", head + "var c = http.DefaultClient\n", ""},
		{"in an example", "examples/e/main.go", head + "var c = http.DefaultClient\n", ""},
		{"in test data", "testdata/a.go", head + "var c = http.DefaultClient\n", ""},
		{"another package called http", "a.go", "package m\nimport \"example.com/http\"\nvar c = http.DefaultClient\n", ""},

		{"the key is set", "a.go", head + "func f(h http.Header) { h.Set(\"idempotency-key\", \"1\") }\n", "a.go:3: sets an Idempotency-Key"},
		{"its X- form is added", "a.go", head + "func f(r *http.Request) { r.Header.Add(\"X-Idempotency-Key\", \"1\") }\n", "sets an Idempotency-Key"},
		{"through a constant", "a.go", head + "const k = \"Idempotency-Key\"\nfunc f(h http.Header) { h.Set(k, \"1\") }\n", "sets an Idempotency-Key"},
		{"through a variable", "a.go", head + "func f(h http.Header) { k := \"Idempotency-Key\"; h.Set(k, \"1\") }\n", "sets an Idempotency-Key"},
		{"as an element, without a value", "a.go", head + "func f(h http.Header) { h[\"Idempotency-Key\"] = nil }\n", "sets an Idempotency-Key"},
		{"in a literal", "a.go", head + "var h = http.Header{\"Idempotency-Key\": nil}\n", "sets an Idempotency-Key"},
		{"the key is read", "a.go", head + "func f(h http.Header) string { return h.Get(\"Idempotency-Key\") }\n", ""},
		{"the key is refused", "a.go", head + "var refused = map[string]bool{\"idempotency-key\": true}\nfunc init() { refused[\"x-idempotency-key\"] = true }\n", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			found, files, err := rules.CheckSource(write(t, map[string]string{tc.file: tc.text}, nil))
			if err != nil {
				t.Fatal(err)
			}
			if tc.want != "" && files != 1 {
				t.Errorf("looked at %d files, want 1", files)
			}
			expect(t, found, tc.want)
		})
	}
	t.Run("a nested module is left to itself", func(t *testing.T) {
		found, files, err := rules.CheckSource(write(t, map[string]string{
			"a.go":           "package m\n",
			"nested/go.mod":  "module n\n",
			"nested/main.go": head + "var c = http.DefaultClient\n",
		}, nil))
		if err != nil || files != 1 {
			t.Fatalf("looked at %d files, error %v; want 1 and none", files, err)
		}
		expect(t, found, "")
	})
	t.Run("a file that does not parse is an error", func(t *testing.T) {
		if _, _, err := rules.CheckSource(write(t, map[string]string{"a.go": "package"}, nil)); err == nil {
			t.Error("a file that nobody could read passed")
		}
	})
}

func TestCorpusRuleHasTeeth(t *testing.T) {
	const target = "package m\n\nimport \"testing\"\n\nfunc FuzzIt(f *testing.F) { f.Fuzz(func(*testing.T, string) {}) }\n"
	for _, tt := range []struct {
		name   string
		change map[string]string
		want   string
	}{
		{"a corpus", map[string]string{"it_test.go": target, "testdata/fuzz/FuzzIt/one": "go test fuzz v1\n"}, ""},
		{"none", map[string]string{"it_test.go": target}, "it_test.go: FuzzIt has no corpus"},
		{"another one's", map[string]string{"it_test.go": target, "testdata/fuzz/FuzzThat/one": "go test fuzz v1\n"}, "it_test.go: FuzzIt has no corpus"},
		{"in a nested module", map[string]string{"deep/go.mod": "module example.com/deep\n", "deep/it_test.go": target}, "deep/it_test.go: FuzzIt has no corpus"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, targets, err := rules.CheckCorpora(write(t, good, tt.change))
			if err != nil || targets != 1 {
				t.Fatalf("%d targets, %v", targets, err)
			}
			expect(t, found, tt.want)
		})
	}
}
