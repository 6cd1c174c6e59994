package dbtest

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/storetest"
)

// pgTables are all tables with rows of the Store's users.
var pgTables = []string{"webhooks", "subscriptions", "health", "stats", "events", "queue", "claims", "deliveries", "attempts"}

// pgEmpty deletes all rows, which is much faster than new tables.
func pgEmpty(t testing.TB, db *sql.DB, schema string) {
	t.Helper()
	var b strings.Builder
	for _, table := range pgTables {
		b.WriteString("DELETE FROM " + schema + ".webhook_" + table + ";")
	}
	if _, err := db.Exec(b.String()); err != nil {
		t.Fatal(err)
	}
}

// The conformance suite, with every driver.
func TestD33_PostgresConformance(t *testing.T) {
	t.Parallel()
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			pgConformance(t, pgOpen(t, driver, ""))
		})
	}
}

// The same with the strictest isolation as the database's default.
func TestD19_PostgresSerializableByDefault(t *testing.T) {
	t.Parallel()
	pgConformance(t, pgOpen(t, "pgx", "default_transaction_isolation=serializable"))
}

func pgConformance(t *testing.T, db *sql.DB) {
	schema := pgSchema(t, db)
	pgStore(t, db, pgstore.Config{Schema: schema})
	storetest.Run(t, func(t *testing.T) webhook.Store {
		pgEmpty(t, db, schema)
		return pgStore(t, db, pgstore.Config{Schema: schema, PassedClock: true})
	})
}
