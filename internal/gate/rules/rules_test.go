package rules_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/internal/gate/rules"
)

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
	const backoff, cmp, sync = "github.com/cenkalti/backoff/v4", "github.com/google/go-cmp/cmp", "golang.org/x/sync/errgroup"
	// The good module; a case gives packages other dependencies.
	good := map[string][]string{
		"":                 {"net/http", backoff, sync, "m/guard", "m/internal/post"},
		"/guard":           {"net/http"},
		"/internal/lanes":  {"net/http"},
		"/internal/post":   {"net/http", "m/guard"},
		"/internal/others": {"net/http", backoff},
		"/verify":          {"net/http", "m/internal/whsec"},
		"/storetest":       {"m", "net/http", backoff, cmp},
		"/portal":          {"m", "net/http", backoff},
	}
	for _, tt := range []struct {
		name   string
		change map[string][]string
		want   string
	}{
		{"a good module", nil, ""},
		{"guard reaches the root", map[string][]string{"/guard": {"m"}}, "m/guard reaches m"},
		{"guard reaches another module", map[string][]string{"/guard": {sync}}, "m/guard reaches " + sync},
		{"lanes reach guard", map[string][]string{"/internal/lanes": {"m/guard"}}, "m/internal/lanes reaches m/guard"},
		{"post reaches lanes", map[string][]string{"/internal/post": {"m/guard", "m/internal/lanes"}}, "m/internal/post reaches m/internal/lanes"},
		{"verify reaches the root", map[string][]string{"/verify": {"m/internal/others", "m"}}, "m/verify reaches m"},
		{"the root reaches a driver", map[string][]string{"": {"example.com/driver"}}, "m reaches example.com/driver"},
		{"the root reaches go-cmp", map[string][]string{"": {cmp}}, "m reaches " + cmp},
		{"storetest reaches a driver", map[string][]string{"/storetest": {"example.com/driver"}}, "m/storetest reaches example.com/driver"},
		{"a module with the same beginning", map[string][]string{"/guard": {"mm"}}, "m/guard reaches mm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := rules.Graph{"net/http": {Standard: true}}
			for _, packages := range []map[string][]string{good, tt.change} {
				for name, deps := range packages {
					g["m"+name] = rules.Package{ImportPath: "m" + name, Deps: deps}
				}
			}
			expect(t, rules.CheckImports(g, "m"), tt.want)
		})
	}
	t.Run("no verify", func(t *testing.T) {
		expect(t, rules.CheckImports(rules.Graph{"m": {}, "m/guard": {}, "m/internal/post": {}}, "m"), "m/verify is missing")
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

func TestHeaderRuleHasTeeth(t *testing.T) {
	const head = "package m\nimport \"net/http\"\n"
	for _, tt := range []struct{ name, file, text, want string }{
		{"the key is set", "a.go", head + "func f(h http.Header) { h.Set(\"idempotency-key\", \"1\") }\n", "a.go: names the header idempotency-key"},
		{"its X- form", "a/b.go", head + "const k = \"X-Idempotency-Key\"\n", "a/b.go: names the header X-Idempotency-Key"},
		{"in a literal", "a.go", head + "var h = http.Header{\"Idempotency-Key\": nil}\n", "names the header"},
		{"in a set of names", "a.go", head + "var refused = map[string]bool{\"idempotency-key\": true}\n", ""},
		{"in a test", "a_test.go", head + "const k = \"X-Idempotency-Key\"\n", ""},
		{"another header", "a.go", head + "const k = \"X-Key\"\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, _, err := rules.CheckIdempotencyKey(write(t, map[string]string{tt.file: tt.text}, nil))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, found, tt.want)
		})
	}
	t.Run("a file that does not parse is an error", func(t *testing.T) {
		if _, _, err := rules.CheckIdempotencyKey(write(t, map[string]string{"a.go": "package"}, nil)); err == nil {
			t.Error("it passed")
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
			found, targets, err := rules.CheckCorpora(write(t, tt.change, nil))
			if err != nil || targets != 1 {
				t.Fatalf("%d targets, %v", targets, err)
			}
			expect(t, found, tt.want)
		})
	}
}
