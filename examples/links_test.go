package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fence      = regexp.MustCompile("(?s)(?:^|\n) *```.*?\n *```")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	aPath      = regexp.MustCompile("`([a-z]+[a-z/_]*(?:/[a-z0-9_]+|\\.go|\\.md))`")
)

// anchors returns the fragments that GitHub makes of a document's headings.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := link.ReplaceAllString(strings.NewReplacer("`", "", "[", "").Replace(m[1]), "")
		out[strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(title), ""), " ", "-")] = true
	}
	return out
}

// broken returns the links of a document whose targets do not exist in the
// repository.
func broken(t *testing.T, file, text string) (out []string) {
	t.Helper()
	for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(fence.ReplaceAllString(text, ""), ""), -1) {
		target, fragment, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue // outside this repository: tests must not depend on other servers
		}
		in := text
		if target != "" {
			to := filepath.Join(filepath.Dir(file), filepath.FromSlash(target))
			data, err := os.ReadFile(to)
			if info, statErr := os.Stat(to); statErr != nil || err != nil && !info.IsDir() {
				out = append(out, m[1])
				continue
			}
			in = string(data)
		}
		if fragment != "" && !anchors(in)[fragment] {
			out = append(out, m[1])
		}
	}
	return out
}

func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*/*.md", "../bench/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("%d documents found: the test looks in the wrong place", len(all))
	}
	return all
}

func TestLinksOfTheDocumentationLeadSomewhere(t *testing.T) {
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range broken(t, file, string(text)) {
			t.Errorf("%s: nothing is at %s", strings.TrimPrefix(file, "../"), to)
		}
	}
}

// The files and folders that docs/architecture.md sends contributors to exist.
func TestPathsOfTheArchitectureExist(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := aPath.FindAllStringSubmatch(string(text), -1)
	if len(paths) < 40 {
		t.Errorf("%d paths found: the test looks for the wrong thing", len(paths))
	}
	for _, m := range paths {
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(m[1]))); err != nil && !strings.HasSuffix(m[1], "/v4") && m[1] != "x/sync" {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// The library logs every message that docs/operating.md explains.
func TestLogMessagesOfTheOperatingGuideExist(t *testing.T) {
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), "| message | means | do |\n|---|---|---|\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	var sources []string
	for _, pattern := range []string{"../*.go", "../guard/*.go", "../internal/*/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, found...)
	}
	var code strings.Builder
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(source)
	}
	n := 0
	for row := range strings.Lines(rows) {
		for _, m := range codeSpan.FindAllString(strings.Split(row, "|")[1], -1) {
			n++
			if message := strings.Trim(m, "`"); !strings.Contains(code.String(), message) {
				t.Errorf("the library does not log %q", message)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d messages found: the test looks in the wrong place", n)
	}
}

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	const text = "# Some `Title`, really\n\n[a](#some-title-really) [b](#none) [c](../README.md#safety) [d](../README.md#none) [e](none.md) [f](https://example.com/x)\n" +
		"`[g](in-code)`\n```\n# no heading\n[h](in-a-block)\n```\n[i](#no-heading) [j](../docs)\n"
	if got, want := strings.Join(broken(t, "../docs/x.md", text), " "), "#none ../README.md#none none.md #no-heading"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}
