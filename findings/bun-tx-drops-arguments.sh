#!/usr/bin/env bash
# Guess: bun.Tx embeds *sql.Tx and has ExecContext(ctx, query, args...), so a library that takes an interface of that method can be handed one.
# Really: bun's ExecContext formats "?" placeholders itself and passes no arguments on: a query with the driver's own placeholders ($1) reaches the driver without its values, while tx.Tx, the *sql.Tx inside, works (bun 1.2.16 on modernc.org/sqlite 1.62.0). Seen 2026-12-01.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite"
)

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func main() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE t (a INTEGER)"); err != nil {
		panic(err)
	}
	tx, err := bun.NewDB(db, sqlitedialect.New()).BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	for _, one := range []struct {
		name string
		tx   execer
	}{{"bun.Tx", tx}, {"tx.Tx", tx.Tx}} {
		_, err := one.tx.ExecContext(ctx, "INSERT INTO t VALUES ($1)", 42)
		fmt.Printf("%s: error %v\n", one.name, err != nil)
	}
}
GO
export GOWORK=off GOFLAGS=-mod=mod
go mod init look >/dev/null 2>&1
go get github.com/uptrace/bun@v1.2.16 github.com/uptrace/bun/dialect/sqlitedialect@v1.2.16 modernc.org/sqlite@v1.62.0 >/dev/null 2>&1
go run . | tee seen
diff - seen <<'SEEN'
bun.Tx: error true
tx.Tx: error false
SEEN
