package dbtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// A folder cannot be written, as after a file system was remounted because of an
// error: Publish says so and stores no event. Once the folder can be written again
// the same store goes on, with all of its data.
func TestL5_SQLiteFolderReadOnly(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatalf("mounting a file system that can be made read-only (this takes root): %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		path := filepath.Join(dir, "queue.db")
		func() {
			db := sqliteOpen(t, driver, path)
			defer db.Close()
			s := sqliteStoreOn(t, db, sqlitestore.Config{})
			defer s.Close()
			if err := sqlitePublish(s, "t", "before", 10); err != nil {
				t.Fatal(err)
			}
		}()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		s, err := sqlitestore.New(sqliteOpen(t, driver, path), sqlitestore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := sqlitePublish(s, "t", "no", 10); err == nil || !strings.Contains(err.Error(), "cannot be opened") && !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("publishing to a folder that cannot be written: got %v", err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
			t.Fatal(err)
		}
		if err := sqlitePublish(s, "t", "after", 10); err != nil {
			t.Errorf("publishing once the folder can be written: %v", err)
		}
		for id, there := range map[string]bool{"before": true, "no": false, "after": true} {
			if _, err := s.GetEvent(t.Context(), "t", id); (err == nil) != there {
				t.Errorf("event %s: got %v, want there: %v", id, err, there)
			}
		}
	})
}

// The file is deleted under a process that has it open. SQLite does not notice: the
// writing connection goes on with the unlinked file, whose content is gone when the
// process ends. Connections opened later, in this process or another, find no
// tables and say so, or that the WAL is missing. No process goes on silently with
// an empty queue.
func TestL5_SQLiteFileDeletedWhileOpen(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		for _, c := range []struct {
			removed []string
			want    string // error of a process that starts later
		}{
			{[]string{""}, "call Migrate first"},
			{[]string{"", "-wal", "-shm"}, "call Migrate first"},
			{[]string{"-wal"}, "files of the database were removed"},
		} {
			path := filepath.Join(t.TempDir(), "queue.db")
			s := sqliteStoreOn(t, sqliteOpen(t, driver, path), sqlitestore.Config{})
			if err := sqlitePublish(s, "t", "before", 10); err != nil {
				t.Fatal(err)
			}
			for _, suffix := range c.removed {
				if err := os.Remove(path + suffix); err != nil {
					t.Fatal(err)
				}
			}
			if err := sqlitePublish(s, "t", "after", 10); err != nil {
				t.Logf("%q removed: Publish returned: %v", c.removed, err)
			} else if _, err := s.GetEvent(t.Context(), "t", "after"); errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("%q removed: acknowledged events are missing, and no error says why: %v", c.removed, err)
			}
			later, err := sqlitestore.New(sqliteOpen(t, driver, path), sqlitestore.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if err := sqlitePublish(later, "t", "later", 10); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q removed: a process that starts later gets %v, want an error with %q", c.removed, err, c.want)
			}
			later.Close()
		}
	})
}

// The WAL is deleted between two runs, the first of which was killed. Transactions
// that had not been checkpointed are gone; the rest is complete, and the store goes
// on.
func TestL5_SQLiteWALDeletedBetweenRuns(t *testing.T) {
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "queue.db")
		db := sqliteOpen(t, driver, path)
		s := sqliteStoreOn(t, db, sqlitestore.Config{})
		const moved, all = 20, 30
		for i := range all {
			if err := sqlitePublish(s, "t", fmt.Sprintf("e%d", i), 10); err != nil {
				t.Fatal(err)
			}
			if i == moved-1 {
				sqliteExec(t, sqliteConn(t, db), "PRAGMA wal_checkpoint(TRUNCATE)")
			}
		}
		main, err := os.ReadFile(path) // the file of a killed process
		if err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(t.TempDir(), "queue.db")
		if err := os.WriteFile(left, main, 0o600); err != nil {
			t.Fatal(err)
		}
		again := sqliteOpen(t, driver, left)
		s2 := sqliteStoreOn(t, again, sqlitestore.Config{})
		sqliteIntact(t, again)
		for i := range all {
			if _, err := s2.GetEvent(t.Context(), "t", fmt.Sprintf("e%d", i)); (err == nil) != (i < moved) {
				t.Errorf("event %d of %d, of which %d had been moved into the file: %v", i, all, moved, err)
			}
		}
		if err := sqlitePublish(s2, "t", "after", 10); err != nil {
			t.Errorf("publishing without the WAL: %v", err)
		}
	})
}
