#!/usr/bin/env bash
# Guess: when database/sql gives a connection up (driver.ErrBadConn from Conn.Raw), it closes it, and SQLite's lock on the file ends with it.
# Really: modernc.org/sqlite 1.62.0 closes with sqlite3_close, which does nothing while a statement prepared on the raw connection is open: its transaction goes on, unseen, and the file stays locked until the process ends. mattn/go-sqlite3 1.14.53 (sqlite3_close_v2) is no better with the statement still open; finalizing it first frees the lock in both. Seen 2026-12-01.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"

	_ "github.com/mattn/go-sqlite3"
	_ "modernc.org/sqlite"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	for _, name := range []string{"sqlite", "sqlite3"} {
		for _, finalize := range []bool{false, true} {
			file := fmt.Sprintf("%s/%s-%v.db", os.Args[1], name, finalize)
			db, err := sql.Open(name, file)
			must(err)
			_, err = db.Exec("CREATE TABLE t (a INTEGER)")
			must(err)
			conn, err := db.Conn(context.Background())
			must(err)
			_ = conn.Raw(func(c any) error {
				raw := c.(driver.Conn)
				begin, err := raw.Prepare("BEGIN IMMEDIATE")
				must(err)
				_, err = begin.Exec(nil) //nolint:staticcheck // what a library that prepares once does
				must(err)
				if finalize {
					must(begin.Close())
				}
				return driver.ErrBadConn
			})
			conn.Close()
			other, err := sql.Open(name, file)
			must(err)
			_, err = other.Exec("INSERT INTO t VALUES (1)")
			fmt.Printf("%s, statement closed before: %v: locked %v\n", name, finalize, err != nil)
		}
	}
}
GO
export GOWORK=off GOFLAGS=-mod=mod
go mod init look >/dev/null 2>&1
go get modernc.org/sqlite@v1.62.0 github.com/mattn/go-sqlite3@v1.14.53 >/dev/null 2>&1
go run . "$dir" | tee seen
diff - seen <<'SEEN'
sqlite, statement closed before: false: locked true
sqlite, statement closed before: true: locked false
sqlite3, statement closed before: false: locked true
sqlite3, statement closed before: true: locked false
SEEN
