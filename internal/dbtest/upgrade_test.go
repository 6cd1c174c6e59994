package dbtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var versionConst = regexp.MustCompile(`const schemaVersion = (\d+)`)

// nextVersion returns an overlay for the compiler in which both stores have tables
// one version ahead, which work with today's programs.
func nextVersion(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	put := func(path, text string) {
		file := filepath.Join(dir, strconv.Itoa(len(replace)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		replace[abs] = file
	}
	for pkg, column := range map[string]string{"pgstore": "ADD COLUMN later text", "sqlitestore": "ADD COLUMN later TEXT"} {
		source := filepath.Join("..", "..", pkg, "schema.go")
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		found := versionConst.FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no version", source)
		}
		now, err := strconv.Atoi(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		put(source, strings.Replace(string(text), string(found[0]), fmt.Sprintf("const schemaVersion = %d", now+1), 1))
		put(filepath.Join("..", "..", pkg, "migrations", fmt.Sprintf("%04d_later.sql", now+1)), fmt.Sprintf(
			"ALTER TABLE {events} %s;\nINSERT INTO {schema_version} (version, works_with) VALUES (%d, %d);\n", column, now+1, now))
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Two builds work side by side. Today's build goes on, and can be restarted, beside
// tables of the next version if these say so; otherwise it is refused, with the
// reason.
func TestD24_TwoBuildsSideBySide(t *testing.T) {
	dir := t.TempDir()
	build := func(name string, more ...string) string {
		t.Helper()
		exe := filepath.Join(dir, name)
		args := append([]string{"build", "-o", exe}, more...)
		if out, err := exec.CommandContext(t.Context(), "go", append(args, "./upgrade")...).CombinedOutput(); err != nil {
			t.Fatalf("go build of %s: %v\n%s", name, err, out)
		}
		return exe
	}
	today, next := build("today"), build("next", "-overlay", nextVersion(t))
	admin := pgOpen(t, "pgx", "")
	t.Cleanup(func() {
		if _, err := admin.Exec(`DROP SCHEMA IF EXISTS upgrade CASCADE`); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "webhook.db")
	for _, on := range []struct{ driver, dsn, table string }{
		{"pgx", postgres(t).DSN(), "upgrade.webhook_schema_version"}, {"sqlite", "file:" + file, "webhook_schema_version"},
	} {
		t.Run(on.driver, func(t *testing.T) {
			program := func(exe, name string, more ...string) *exec.Cmd {
				return exec.CommandContext(t.Context(), exe, append([]string{"-driver", on.driver, "-dsn", on.dsn, "-name", name}, more...)...)
			}
			runs := func(exe, name string, more ...string) {
				t.Helper()
				if out, err := program(exe, name, more...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", name, err, out)
				}
			}
			// One of today's programs runs all the time.
			stays := program(today, "stays", "-migrate", "-stay")
			input, err := stays.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			output, err := stays.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := stays.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(output)
			progress := func() {
				t.Helper()
				for range 20 {
					if !lines.Scan() || !strings.HasPrefix(lines.Text(), "round") {
						t.Fatalf("the program that runs all the time says %q", lines.Text())
					}
				}
			}
			progress()
			if out, err := program(next, "early").CombinedOutput(); err == nil || !strings.Contains(string(out), "call Migrate") {
				t.Errorf("the next version before its tables are there: %v\n%s", err, out)
			}
			runs(next, "next", "-migrate")
			progress()
			runs(today, "again")
			runs(today, "again with Migrate", "-migrate")
			runs(next, "next again", "-migrate")
			progress()
			input.Close()
			for lines.Scan() {
				if !strings.HasPrefix(lines.Text(), "round") {
					t.Error(lines.Text())
				}
			}
			if err := stays.Wait(); err != nil {
				t.Errorf("the program that ran all the time: %v", err)
			}
			db := admin
			if on.driver == "sqlite" {
				db = sqliteOpen(t, on.driver, file)
			}
			if _, err := db.Exec(`UPDATE ` + on.table + ` SET works_with = 0`); err != nil {
				t.Fatal(err)
			}
			for _, more := range [][]string{nil, {"-migrate"}} {
				if out, err := program(today, "refused", more...).CombinedOutput(); err == nil || !strings.Contains(string(out), "update the program") {
					t.Errorf("beside tables that do not work with it: %v\n%s", err, out)
				}
			}
			runs(next, "alone")
		})
	}
}
