package pgstore

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

func TestNewRefusesNames(t *testing.T) {
	db := new(sql.DB)
	for _, cfg := range []Config{{}, {Schema: "webhooks", TablePrefix: "wh_"}, {TablePrefix: "_a1"}} {
		if _, err := New(db, cfg); err != nil {
			t.Errorf("New(%+v): %v", cfg, err)
		}
	}
	for _, name := range []string{"Big", "1a", `a"b`, "a b", "a;drop", "é", "a-b", strings.Repeat("a", 64)} {
		if _, err := New(db, Config{Schema: name}); err == nil || !strings.Contains(err.Error(), "Schema") {
			t.Errorf("Schema %q: got error %v", name, err)
		}
		if _, err := New(db, Config{TablePrefix: name}); err == nil || !strings.Contains(err.Error(), "TablePrefix") {
			t.Errorf("TablePrefix %q: got error %v", name, err)
		}
		if _, err := Migrations(Config{Schema: name}); err == nil {
			t.Errorf("Migrations with Schema %q: no error", name)
		}
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("New without a database: no error")
	}
}

func TestMigrationsHaveNames(t *testing.T) {
	files, err := Migrations(Config{Schema: "app", TablePrefix: "wh_"})
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(files, "0001_init.sql", "0002_backlog.sql", "0003_rate_limit.sql"); err != nil {
		t.Error(err)
	}
	text, err := fs.ReadFile(files, "0001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(text), "{}") {
		t.Error("a placeholder is left")
	}
	if !strings.Contains(string(text), `CREATE TABLE "app"."wh_queue"`) {
		t.Error("the queue is not where it should be")
	}
	steps, err := sqlstore.Migrations(migrationFiles, Config{}.filled().replacer())
	if err != nil || len(steps) != schemaVersion {
		t.Errorf("%d steps, %v; the last must bring version %d", len(steps), err, schemaVersion)
	}
}

func TestArrayLiterals(t *testing.T) {
	var i intArray
	var s textArray
	if i.String() != "{}" || s.String() != "{}" {
		t.Errorf("empty arrays are %s and %s", &i, &s)
	}
	i.add(-1)
	i.addNull()
	i.add(math.MaxInt64)
	if got, want := i.String(), "{-1,NULL,9223372036854775807}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.add("")
	s.addOrNull("")
	s.add(`a"b\c,{}` + "\u2028\n")
	if got, want := s.String(), `{"",NULL,"a\"b\\c,{}`+"\u2028\n"+`"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// stateError is an error of a driver.
type stateError string

func (e stateError) Error() string    { return "state " + string(e) }
func (e stateError) SQLState() string { return string(e) }

func TestD19_ErrorsAreClassifiedBySQLState(t *testing.T) {
	for state, want := range map[string]struct {
		again, alone bool
		advice       string
	}{
		"40001": {again: true, advice: "lost to other"},
		"40P01": {again: true, advice: "lost to other"},
		"42P01": {advice: "call Migrate"},
		"53100": {advice: "disk is full"},
		"53300": {advice: "SetMaxOpenConns"},
		"55P03": {advice: "pg_stat_activity"},
		"57014": {advice: "cancelled"},
		"57P01": {advice: "shutting down"},
		"25006": {advice: "primary"},
		"08006": {advice: "connection was lost"},
		"22021": {alone: true},
	} {
		err := fmt.Errorf("exec: %w", stateError(state))
		if got := lostToOther(err); got != want.again {
			t.Errorf("%s: lostToOther is %v", state, got)
		}
		if got := retryAlone(err); got != want.alone {
			t.Errorf("%s: retryAlone is %v", state, got)
		}
		wrapped := wrap(t.Context(), "publish", err)
		if !strings.HasPrefix(wrapped.Error(), "pgstore: publish: ") || !strings.Contains(wrapped.Error(), want.advice) {
			t.Errorf("%s: the error is %q, want it to say %q", state, wrapped, want.advice)
		}
		if _, ok := errors.AsType[stateError](wrapped); !ok {
			t.Errorf("%s: the driver's error cannot be reached", state)
		}
	}
	if retryAlone(errors.New("connection reset")) {
		t.Error("an error without a state, which may hide a commit, is run again")
	}
}

func TestEventCacheIsBounded(t *testing.T) {
	c := newEventCache(10_000)
	ev := webhook.EventRecord{ID: "e", Data: make([]byte, 744)}
	for k := range int64(5000) {
		c.put(k, &ev)
		if c.size > c.limit || len(c.byKey) > 10 || len(c.order) > 4096 {
			t.Fatalf("after %d events: %d bytes in %d entries, order of %d", k, c.size, len(c.byKey), len(c.order))
		}
	}
	into := map[int64]*webhook.EventRecord{}
	if missing := c.get([]int64{1, 4999}, into); !slices.Equal(missing, []int64{1}) || into[4999] == nil {
		t.Errorf("missing %v, got %v", missing, into)
	}
	ev.Data[0] = 1
	if into[4999].Data[0] != 0 {
		t.Error("the cache shares memory with its caller")
	}
	big := webhook.EventRecord{Data: make([]byte, 5000)}
	c.put(9999, &big)
	if missing := c.get([]int64{9999}, into); len(missing) != 1 {
		t.Error("an event that is half of the cache was kept")
	}
	newEventCache(-1).put(1, &ev)
}

func TestWalkTakesTurns(t *testing.T) {
	w := newWalk()
	for _, h := range []int64{1, 2, 3} {
		w.add(h, 100*h)
		w.belongs(map[int64]string{h: "t"})
	}
	lineUp(t, w)
	noTenant := func(string) bool { return false }
	most := func(int64) int { return 2 }
	turn := func(n int) (out []int64) {
		for _, c := range w.next(n, time.Now(), noTenant, most) {
			out = append(out, c.hook)
		}
		return out
	}
	// A full claim that took 2 of 1 and 1 of 2: both go to the end, 3 is next.
	w.served(w.next(3, time.Now(), noTenant, most), map[int64]taken{1: {2, 150}, 2: {1, 210}}, true, 1000)
	if d := cmp.Diff([]int64{3, 1, 2}, turn(3)); d != "" {
		t.Errorf("turn after a full claim (-want +got):\n%s", d)
	}
	// The next look starts where the last one ended, but not past deliveries that
	// may still commit.
	if c := w.next(3, time.Now(), noTenant, most); c[1].since != 150 || c[2].since != 210 {
		t.Errorf("looks start at %+v", c)
	}
	// The claim was not full: webhooks that gave less than their limit are empty,
	// unless they were added again meanwhile.
	cands := w.next(3, time.Now(), noTenant, most)
	w.add(1, 50)
	w.served(cands, map[int64]taken{2: {2, 500}}, false, 300)
	if d := cmp.Diff([]int64{1, 2}, turn(3)); d != "" {
		t.Errorf("turn after a claim that was not full (-want +got):\n%s", d)
	}
	if c := w.next(3, time.Now(), noTenant, most); c[0].since != 50 || c[1].since != 300 {
		t.Errorf("looks start at %+v", c)
	}
	// A webhook with limit 0 is passed over and keeps its place.
	only2 := func(h int64) int { return int(h - 1) }
	if c := w.next(1, time.Now(), noTenant, only2); len(c) != 1 || c[0].hook != 2 {
		t.Errorf("with 1 passed over: %+v", c)
	}
}
