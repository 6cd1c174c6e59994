// Package ncruces has the tests of sqlitestore with the driver
// github.com/ncruces/go-sqlite3/driver. It is a separate package, since that driver
// registers under the same name as mattn's.
package ncruces

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/sqlitestore"
	"github.com/seed68722ecd/webhook/storetest"
	"github.com/seed68722ecd/webhook/webhooktest"
)

// documented has the options that docs/stores.md shows after the file's name.
const documented = "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"

func open(t *testing.T, options string, cfg sqlitestore.Config) (*sqlitestore.Store, *sql.DB) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "webhook.db")+options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlitestore.New(db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, db
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) webhook.Store {
		s, _ := open(t, documented, sqlitestore.Config{Relaxed: true, PassedClock: true})
		return s
	})
}

func request(id string) webhook.PublishRequest {
	return webhook.PublishRequest{
		Event:    webhook.EventRecord{ID: id, Tenant: "t", Type: "a.b", Time: time.Now().UTC(), Data: []byte(`{}`)},
		Patterns: []string{"a.b", "a.*", "*"},
	}
}

// A call waits for a lock that another connection holds; if that takes longer, it
// returns an error that says so.
func TestLockHeldElsewhere(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	s, db := open(t, documented, sqlitestore.Config{BusyTimeout: patience})
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	exec := func(q string) {
		t.Helper()
		if _, err := other.ExecContext(context.Background(), q); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(id string) error {
		_, err := s.Publish(t.Context(), time.Now(), []webhook.PublishRequest{request(id)})
		return err
	}
	exec("BEGIN IMMEDIATE")
	var freed sync.WaitGroup
	freed.Go(func() {
		<-time.After(patience / 3)
		exec("COMMIT")
	})
	if err := publish("soon"); err != nil {
		t.Errorf("a lock held for a third of BusyTimeout: %v", err)
	}
	freed.Wait()
	exec("BEGIN IMMEDIATE")
	if err := publish("never"); !errors.Is(err, sqlitestore.ErrBusy) {
		t.Errorf("a lock that is held on: %v, want ErrBusy", err)
	}
	exec("COMMIT")
	if err := publish("never"); err != nil {
		t.Errorf("after the lock was free: %v", err)
	}
}

// Events published with the store's own call and in transactions of the host's are
// delivered; transactions that would not be durable are refused.
func TestPublishedInTransactionsAndDelivered(t *testing.T) {
	t.Parallel()
	s, db := open(t, documented, sqlitestore.Config{})
	net := new(webhooktest.Transport)
	d, err := webhook.New(s, webhook.Config{Client: &http.Client{Transport: net}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.CreateWebhook(t.Context(), "t", webhook.WebhookSpec{Name: "n", URL: "https://example.com/", Events: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	const events = 20
	for i := range events {
		if i%2 == 0 {
			if _, err := d.Publish(t.Context(), webhook.Event{Tenant: "t", ID: fmt.Sprint("e", i), Type: "a.b", Data: map[string]int{"i": i}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.PublishTx(t.Context(), tx, request(fmt.Sprint("e", i))); err != nil || n != 1 {
			t.Fatalf("PublishTx = %d, %v", n, err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.DeliverDue(t.Context()); err != nil || n != events {
		t.Errorf("%d delivered, %v; want %d", n, err, events)
	}
	lax, laxDB := open(t, "?_txlock=immediate", sqlitestore.Config{})
	tx, err := laxDB.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := lax.PublishTx(t.Context(), tx, request("e")); !errors.Is(err, sqlitestore.ErrNotDurable) {
		t.Errorf("PublishTx with the driver's own setting = %v, want ErrNotDurable", err)
	}
}
