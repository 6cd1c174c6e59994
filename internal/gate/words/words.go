package main

import (
	"cmp"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A form is a way to hide a noun behind a pronoun, and how often in a thousand words it may stand.
type form struct {
	name    string
	limit   float64 // a rate below it is fine
	pattern *regexp.Regexp
	// spare says whether a place that matches is fine after all, by the text behind it.
	spare func(after string) bool
}

var forms = []form{
	{"what", 0.5, regexp.MustCompile(`(?i)\bwhat\b`), func(after string) bool {
		return toInfinitive.MatchString(after) || question.MatchString(after)
	}},
	{"one that", 0.5, regexp.MustCompile(`(?i)\b(?:ones?|those|he|they|that|anyone|everyone|anybody|everybody)\s+(?:that|who|which|whose)\b`), nil},
	{"nothing", 1.0, regexp.MustCompile(`(?i)\b(?:nobody|no\s+one|none|nor|nothing)\b`), nil},
}

var (
	toInfinitive = regexp.MustCompile(`^\s+to\b`)
	question     = regexp.MustCompile(`^[^.!?:;¶]*\?`)
	word         = regexp.MustCompile(`[A-Za-z][\w'-]*`)
)

// prose is the text of some files and the line that each part of it comes from.
type prose struct {
	text  strings.Builder
	marks []mark
}

// A mark says that the text from an offset on stands in a line of a file.
type mark struct {
	offset int
	at     string
}

func (p *prose) add(file string, line int, text string) {
	p.marks = append(p.marks, mark{p.text.Len(), fmt.Sprintf("%s:%d", file, line)})
	p.text.WriteString(text + "\n")
}

// end ends a paragraph: no form reaches beyond it.
func (p *prose) end() { p.text.WriteString("¶\n") }

// line returns the file and line of an offset.
func (p *prose) line(offset int) string {
	i, found := slices.BinarySearchFunc(p.marks, offset, func(m mark, offset int) int { return cmp.Compare(m.offset, offset) })
	if !found {
		i--
	}
	return p.marks[i].at
}

// A hit is one place of a form.
type hit struct{ at, text string }

// find returns the number of words, and the hits of each form.
func (p *prose) find() (words int, hits [][]hit) {
	text := p.text.String()
	for _, f := range forms {
		var found []hit
		for _, at := range f.pattern.FindAllStringIndex(text, -1) {
			if f.spare == nil || !f.spare(text[at[1]:]) {
				around, _, _ := strings.Cut(text[at[0]:min(len(text), at[1]+40)], "¶")
				found = append(found, hit{p.line(at[0]), strings.Join(strings.Fields(strings.ToValidUTF8(around, "")), " ")})
			}
		}
		hits = append(hits, found)
	}
	return len(word.FindAllString(text, -1)), hits
}

// directive finds comments that are for tools, such as //go:build, //nolint and //line.
var directive = regexp.MustCompile(`^//(?:[a-z0-9]+:[a-z0-9]|nolint|line |export )`)

// addGo adds the comments of a Go file that begin with //. Directives, and the lines that go doc
// shows as code, are left out.
func (p *prose) addGo(path, name string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	files := token.NewFileSet()
	file := files.AddFile(path, -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	last := 0
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			p.end()
			return nil
		}
		if tok != token.COMMENT || !strings.HasPrefix(lit, "//") || directive.MatchString(lit) {
			continue
		}
		text, line := lit[len("//"):], file.Line(pos)
		if line != last+1 || strings.TrimSpace(text) == "" || strings.HasPrefix(text, "\t") {
			p.end()
		}
		last = line
		if !strings.HasPrefix(text, "\t") {
			p.add(name, line, text)
		}
	}
}

var (
	inlineCode = regexp.MustCompile("`[^`¶]*`")
	quoted     = regexp.MustCompile(`"[^"¶]*"|“[^”¶]*”`)
	linkTarget = regexp.MustCompile(`\]\([^)\n]*\)`)
	htmlNote   = regexp.MustCompile(`(?s)<!--.*?-->`)
	visible    = regexp.MustCompile(`[^\n]+`)
)

// addMarkdown adds the text of a Markdown file without code, quotations, comments and addresses.
func (p *prose) addMarkdown(path, name string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// A cut keeps its line breaks, so that lines keep their numbers.
	text, fenced := "", false
	for line := range strings.Lines(string(src)) {
		trimmed := strings.TrimSpace(line)
		fence := strings.HasPrefix(trimmed, "```")
		if fence {
			fenced = !fenced
		}
		switch {
		case fence, fenced, trimmed == "":
			line = "¶\n"
		case strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "- "):
			line = "¶" + line
		}
		text += line
	}
	for _, cut := range []*regexp.Regexp{htmlNote, inlineCode, quoted, linkTarget} {
		text = cut.ReplaceAllStringFunc(text, func(s string) string { return visible.ReplaceAllString(s, " ") })
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		p.add(name, n, strings.TrimSuffix(line, "\n"))
	}
	p.end()
	return nil
}

// A part is counted by itself: a package, or the documentation.
type part struct {
	name  string
	globs []string
}

// read collects the prose of a part of the repository at root.
func (pt part) read(root string) (*prose, error) {
	var p prose
	for _, glob := range pt.globs {
		paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(glob)))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			add := p.addGo
			if strings.HasSuffix(path, ".md") {
				add = p.addMarkdown
			}
			if err := add(path, filepath.ToSlash(name)); err != nil {
				return nil, err
			}
		}
	}
	return &p, nil
}

// check prints a line for each part, with all the hits of each, and says whether every part is
// below the limits.
func check(w io.Writer, root string, parts []part, list bool) (ok bool, err error) {
	ok = true
	for _, pt := range parts {
		p, err := pt.read(root)
		if err != nil {
			return false, err
		}
		words, hits := p.find()
		over := words == 0 // a part without a word is a folder that has moved
		fmt.Fprintf(w, "%-16s %6d words", pt.name, words)
		for i, f := range forms {
			rate := 1000 * float64(len(hits[i])) / float64(max(words, 1))
			over = over || rate >= f.limit
			fmt.Fprintf(w, "   %s %3d, %5.2f", f.name, len(hits[i]), rate)
		}
		if over {
			ok = false
			fmt.Fprintln(w, "   ABOVE")
		} else {
			fmt.Fprintln(w)
		}
		for i := range hits {
			for _, h := range hits[i] {
				if list {
					fmt.Fprintf(w, "%s: %s\n", h.at, h.text)
				}
			}
		}
	}
	return ok, nil
}
