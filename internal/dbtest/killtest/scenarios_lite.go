package killtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sqliteBusy is how long the store waits for the write lock.
const sqliteBusy = 5 * time.Second

// sqliteScenarios are faults of SQLite's file.
func sqliteScenarios() []Scenario {
	all := []Scenario{
		{ID: "K1 with mattn's driver", run: dispatcherKilled, adapt: func(s *spec) { s.Engine = "sqlite/mattn" }},
		{ID: "L1 D25 lock held by another", run: lockHeld},
		{ID: "L2 D26 killed in mid-write", Short: true, run: killedInMidWrite},
		{ID: "L3 D27 disk full", run: fileSystemFull, before: smallFileSystem},
	}
	for i := range all {
		all[i].On = "sqlite"
	}
	return all
}

// L1: a program that is not ours holds the write lock for up to three times
// what the store waits for it.
func lockHeld(r *run) {
	r.begin(2, nil)
	for i := range max(r.opt.Kills/10, 1) {
		r.pause(time.Second)
		r.holdLock([]time.Duration{sqliteBusy / 2, sqliteBusy, 3 * sqliteBusy}[i%3])
	}
	r.pause(time.Second)
}

// holdLock holds the write lock of the file.
func (r *run) holdLock(d time.Duration) {
	r.t.Helper()
	ctx := r.t.Context()
	conn, err := r.db.db.Conn(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		r.t.Fatal(err)
	}
	from := time.Now()
	r.pause(d)
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		r.t.Error(err)
	}
	r.outage(from)
}

// L2: two dispatchers and a publisher write one file, and are killed in the
// middle of their transactions. The file is whole after each kill.
func killedInMidWrite(r *run) {
	r.begin(2, nil)
	for i := range r.opt.Kills {
		if i > 0 {
			r.recover()
		}
		point := []string{"complete:inside", "claim:inside", "extend:inside"}[i%3]
		if err := r.dispatchers[0].stop(); err != nil {
			r.t.Errorf("L2: %v", err)
		}
		r.restart(0, func(s *spec) { s.Point, s.PointAt = point, 1+r.rng.IntN(10) })
		p := r.dispatchers[0]
		eventually(10*time.Second, p.over)
		p.kill()
		r.killed(p, p.gauge().inFlight)
		r.publisher.kill()
		r.whole()
		r.publish()
		r.restart(0, func(s *spec) { s.Point = "" })
	}
	r.pause(500 * time.Millisecond)
}

// whole checks the file itself.
func (r *run) whole() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(background(), 30*time.Second)
	defer cancel()
	var verdict string
	if err := r.db.db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		r.t.Errorf("seed %d: integrity_check: %s %v", r.opt.Seed, verdict, err)
	}
}

func smallFileSystem(t testing.TB, s *spec) {
	mount(t, filepath.Dir(s.DSN), "size=16m")
}

// L3: the file is on a small file system that fills up, and is given room.
func fileSystemFull(r *run) {
	dir := filepath.Dir(r.base.DSN)
	r.begin(2, nil)
	for i := range max(r.opt.Kills/10, 1) {
		r.pause(time.Second)
		from := time.Now()
		filler := filepath.Join(dir, "filler")
		fill(r, filler)
		r.pause(r.scaled(2 * time.Second))
		mount(r.t, dir, fmt.Sprintf("remount,size=%dm", 64*(i+1)))
		if err := os.Remove(filler); err != nil {
			r.t.Fatal(err)
		}
		r.outage(from)
	}
	r.pause(time.Second)
}

// mount mounts a file system in memory, or changes its size.
func mount(t testing.TB, dir, options string) {
	t.Helper()
	flags := uintptr(0)
	if len(options) > 8 && options[:8] == "remount," {
		flags, options = syscall.MS_REMOUNT, options[8:]
	} else {
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatalf("mounting a small file system (this takes root): %v", err)
	}
}

// fill writes until there is no room.
func fill(r *run, path string) {
	f, err := os.Create(path) //nolint:gosec // in the folder of this run
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

// sqliteInvariants checks what the file itself can say.
func (r *run) sqliteInvariants() {
	r.t.Helper()
	r.whole()
	for what, query := range map[string]string{
		"deliveries have no event":   `SELECT count(*) FROM webhook_deliveries d WHERE NOT EXISTS (SELECT 1 FROM webhook_events e WHERE e.seq = coalesce(d.ekey, d.seq))`,
		"deliveries have no webhook": `SELECT count(*) FROM webhook_deliveries d WHERE NOT EXISTS (SELECT 1 FROM webhook_webhooks w WHERE w.wkey = d.wkey)`,
		"attempts have no delivery":  `SELECT count(*) FROM webhook_attempts a WHERE NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.wkey = a.wkey AND d.seq = a.seq)`,
		"deliveries still wait":      `SELECT count(*) FROM webhook_waiting`,
		"deliveries are pending":     `SELECT count(*) FROM webhook_deliveries WHERE state = 1`,
	} {
		var n int
		if err := r.db.db.QueryRowContext(background(), query).Scan(&n); err != nil {
			r.t.Errorf("%s: %v", query, err)
		} else if n > 0 {
			r.t.Errorf("seed %d: %d %s", r.opt.Seed, n, what)
		}
	}
}
