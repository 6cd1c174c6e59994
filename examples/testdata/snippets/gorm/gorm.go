// Package gorm declares the parts of gorm.io/gorm that the documentation uses,
// so that its example compiles without it.
package gorm

import (
	"context"
	"database/sql"
)

type DB struct {
	Error     error
	Statement *Statement
}

type Statement struct{ ConnPool ConnPool }

type ConnPool interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (db *DB) WithContext(context.Context) *DB                              { return db }
func (db *DB) Transaction(fc func(tx *DB) error, _ ...*sql.TxOptions) error { return fc(db) }
func (db *DB) Model(any) *DB                                                { return db }
func (db *DB) Update(column string, value any) *DB                          { return db }
