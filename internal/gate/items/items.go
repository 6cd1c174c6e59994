// Package items keeps count of what was thought of: each item of its list,
// an attack, a fault or a duty, is shown by a test that is named after it or has
// its reason in docs/threat-model.md.
package items

import (
	"bufio"
	_ "embed"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook/internal/gate/gofiles"
)

//go:embed items.txt
var list string

// An Item is one line of the list.
type Item struct {
	ID    string
	Title string
}

// All returns the list. It panics when a line is not an item: the list is part
// of the program.
func All() []Item {
	var all []Item
	seen := make(map[string]bool)
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, title, ok := strings.Cut(line, " ")
		if !ok || !isID.MatchString(id) || seen[id] {
			panic(fmt.Sprintf("items: not a new item: %q", line))
		}
		seen[id] = true
		all = append(all, Item{ID: id, Title: title})
	}
	return all
}

var (
	isID = regexp.MustCompile(`^(S|H|R|V|D|P|G|K|PG|L|C|HR)[1-9][0-9]?$`)
	// A reason is an entry of a list, or a row of a table, that begins with the
	// IDs that it is about: "- D23, PG12: …" or "| D23 | … |".
	reasonLine = regexp.MustCompile(`^(?:- |\| )((?:[A-Z]{1,2}[0-9]+(?:, | )?)+)(?:: | ?\| )(.*)$`)
)

// Evidence is what there is for the items, by ID.
type Evidence struct {
	// Tests are functions and scenarios, each with its file: what shows an item.
	Tests map[string][]string
	// Reasons are the lines of the threat model that say why nothing does.
	Reasons map[string]string
}

// scenarioDirs are the folders where tests are rows of a table, named by a
// string: there, and only there, a string that begins with IDs and a blank is
// the name of a test.
var scenarioDirs = []string{"internal/dbtest/killtest", "internal/hostile"}

// Collect reads the tests of the repository at root and the threat model.
func Collect(root string) (Evidence, error) {
	ev := Evidence{Tests: make(map[string][]string), Reasons: make(map[string]string)}
	scenarios := func(rel string) bool {
		return slices.ContainsFunc(scenarioDirs, func(dir string) bool { return strings.HasPrefix(rel, dir+"/") })
	}
	want := func(rel string) bool { return strings.HasSuffix(rel, "_test.go") || scenarios(rel) }
	err := gofiles.Parse(root, want, func(rel string, file *ast.File) { ev.addTests(rel, file, scenarios(rel)) })
	if err != nil {
		return Evidence{}, fmt.Errorf("items: %w", err)
	}
	err = ev.addReasons(filepath.Join(root, "docs", "threat-model.md"))
	return ev, err
}

// addTests finds the test functions and the scenarios of a file.
func (ev *Evidence) addTests(rel string, file *ast.File, scenarios bool) {
	note := func(ids []string, name string) {
		for _, id := range ids {
			ev.Tests[id] = append(ev.Tests[id], name+" in "+rel)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if rest, ok := strings.CutPrefix(n.Name.Name, "Test"); ok && n.Recv == nil && strings.HasSuffix(rel, "_test.go") {
				note(leadingIDs(rest, "_"), n.Name.Name)
			}
		case *ast.BasicLit:
			if !scenarios || n.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(n.Value); err == nil {
				note(leadingIDs(text, " "), strconv.Quote(text))
			}
		}
		return true
	})
}

// leadingIDs returns the IDs that a name begins with, if something follows them.
func leadingIDs(name, sep string) []string {
	var ids []string
	for {
		id, rest, ok := strings.Cut(name, sep)
		if !ok || !isID.MatchString(id) {
			return ids
		}
		ids, name = append(ids, id), rest
	}
}

// addReasons reads the lines of the threat model that begin with IDs.
func (ev *Evidence) addReasons(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := reasonLine.FindStringSubmatch(lines.Text())
		if len(m) != 3 || len(strings.Trim(m[2], " |-")) < 10 {
			continue
		}
		for _, id := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' }) {
			ev.Reasons[id] = strings.TrimSpace(m[2])
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("items: %w", err)
	}
	return nil
}

// Check returns what is wrong: items with neither a test nor a reason, and tests
// and reasons of items that nobody listed.
func Check(all []Item, ev Evidence) []string {
	var found []string
	known := make(map[string]bool, len(all))
	for _, item := range all {
		known[item.ID] = true
		if len(ev.Tests[item.ID]) == 0 && ev.Reasons[item.ID] == "" {
			found = append(found, fmt.Sprintf("%s (%s): no test is named after it, and docs/threat-model.md gives no reason", item.ID, item.Title))
		}
	}
	for id := range ev.Tests {
		if !known[id] {
			found = append(found, fmt.Sprintf("%s: there is %s, and no item of that name", id, ev.Tests[id][0]))
		}
	}
	for id := range ev.Reasons {
		if !known[id] {
			found = append(found, fmt.Sprintf("%s: docs/threat-model.md has a line about it, and there is no item of that name", id))
		}
	}
	slices.Sort(found)
	return found
}

// notYet begins the reason of what is still to be shown.
const notYet = "not shown yet"

// Overtaken returns the items whose reason says that they are not shown yet while
// there is a test: lines of the threat model to remove.
func Overtaken(all []Item, ev Evidence) []string {
	var found []string
	for _, item := range all {
		if tests := ev.Tests[item.ID]; len(tests) > 0 && strings.HasPrefix(ev.Reasons[item.ID], notYet) {
			found = append(found, fmt.Sprintf("%s: docs/threat-model.md says %q, and there is %s", item.ID, notYet, tests[0]))
		}
	}
	return found
}
