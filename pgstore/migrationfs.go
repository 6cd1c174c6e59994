package pgstore

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
// own tool. goose takes the files as they are, other tools as plain SQL. The files
// record their version themselves, so that [Store.Migrate] and such a tool can
// follow one another. They do not create cfg.Schema.
//
// The files in the repository hold placeholders instead of names: {queue} and the
// like for tables, {prefix} for the start of an index's name.
func Migrations(cfg Config) (fs.FS, error) {
	cfg = cfg.filled()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("pgstore: Migrations: %w", err)
	}
	files, err := sqlstore.MigrationFS(migrationFiles, cfg.replacer())
	if err != nil {
		return nil, fmt.Errorf("pgstore: Migrations: %w", err)
	}
	return files, nil
}
