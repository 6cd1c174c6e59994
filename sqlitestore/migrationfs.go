package sqlitestore

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations returns the migrations as SQL files, 0001_init.sql and so on in the
// root, with the names of cfg put in, for hosts that apply migrations with their
// own tool. The files record their version themselves, so that [Store.Migrate] and
// such a tool can follow one another. They do not switch the database to WAL, which
// must be done once: PRAGMA journal_mode = WAL.
func Migrations(cfg Config) (fs.FS, error) {
	cfg = cfg.filled()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("sqlitestore: Migrations: %w", err)
	}
	files, err := sqlstore.MigrationFS(migrationFiles, cfg.replacer())
	if err != nil {
		return nil, fmt.Errorf("sqlitestore: Migrations: %w", err)
	}
	return files, nil
}
