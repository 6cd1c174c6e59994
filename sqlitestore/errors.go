package sqlitestore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// Errors that a caller can act on.
var (
	// ErrSchema says that the tables are missing or of another version than
	// this package: call [Store.Migrate], or update the program.
	ErrSchema = errors.New("database schema does not fit")
	// ErrBusy says that another connection held the database's write lock for
	// longer than Config.BusyTimeout. Nothing was stored; try again, and look
	// for a transaction that is left open.
	ErrBusy = errors.New("database is locked by another connection")
	// ErrNotDurable says that a transaction given to [Store.PublishTx] commits
	// without waiting for the disk; the error names the option of the DSN.
	ErrNotDurable = errors.New("the transaction would not be durable")
	// ErrClosed says that the Store was closed.
	ErrClosed = errors.New("store is closed")
)

// SQLite's result codes that matter here.
const (
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26

	codeBusySnapshot = codeBusy | 2<<8
)

// code returns SQLite's result code, extended if the driver tells, or 0. Every
// driver has an error type of its own: with a method or a field of that name.
// Some join it with others, as when closing a statement fails as well: the first
// that has a code counts.
func code(err error) int {
	for err != nil {
		v := reflect.ValueOf(err)
		best := 0
		for _, name := range []string{"ExtendedCode", "Code"} {
			best = max(best, number(v.MethodByName(name)))
			if e := reflect.Indirect(v); e.Kind() == reflect.Struct {
				best = max(best, number(e.FieldByName(name)))
			}
		}
		if best != 0 {
			return best
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				if c := code(e); c != 0 {
					return c
				}
			}
			return 0
		}
		err = errors.Unwrap(err)
	}
	return 0
}

// number reads an integer, or the integer that a function without parameters
// returns.
func number(v reflect.Value) int {
	if !v.IsValid() {
		return 0
	}
	if v.Kind() == reflect.Func {
		if v.Type().NumIn() != 0 || v.Type().NumOut() != 1 || v.IsNil() {
			return 0
		}
		v = v.Call(nil)[0]
	}
	switch {
	case v.CanInt():
		return int(v.Int())
	case v.CanUint():
		return int(v.Uint())
	}
	return 0
}

func busy(err error) bool {
	c := code(err) & 0xff
	return c == codeBusy || c == codeLocked
}

// useless reports errors after which a connection is not to be used again: the
// disk failed under it, or it was opened while the file could not be written,
// and stays unable to when it can, or database/sql or the driver have given it
// up.
func useless(err error) bool {
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return true
	}
	switch code(err) & 0xff {
	case codeIO, codeReadOnly, codeCantOpen:
		return true
	}
	return false
}

// blameless reports errors that would meet every member of a group alike: to
// run them one by one would help no one.
func blameless(err error) bool {
	if errors.Is(err, ErrBusy) || errors.Is(err, ErrSchema) || errors.Is(err, ErrClosed) {
		return true
	}
	switch code(err) & 0xff {
	case codeBusy, codeLocked, codeReadOnly, codeIO, codeCorrupt, codeCantOpen, codeNotADB:
		return true
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// advice says what a person can do about an error of SQLite's.
func advice(err error) string {
	if strings.Contains(err.Error(), "no such table") || strings.Contains(err.Error(), "no such column") {
		return "tables are missing or of another version: call Migrate"
	}
	switch c := code(err); c & 0xff {
	case codeBusy, codeLocked:
		if c == codeBusySnapshot {
			return "the transaction began by reading, and another wrote since: begin transactions that write with BEGIN IMMEDIATE " +
				"(a DSN with _txlock=immediate)"
		}
		return "another connection holds the database's lock"
	case codeReadOnly:
		return "the file or its directory cannot be written"
	case codeIO:
		return "the disk failed, or files of the database were taken away: see what is stored with a new connection"
	case codeCorrupt, codeNotADB:
		return "the file is damaged or is no SQLite database: restore it from a backup"
	case codeFull:
		return "the disk is full, or the database has reached max_page_count: nothing was stored"
	case codeCantOpen:
		return "the file cannot be opened: look at its path and permissions"
	}
	return ""
}

// wrap gives an error its place, and what to do about it. When ctx is done
// that is the reason, whatever the driver made of it.
func wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) && !known(err) {
		return fmt.Errorf("sqlitestore: %s: %w (%w)", op, cause, err)
	}
	if known(err) || errors.Is(err, ErrBusy) {
		return fmt.Errorf("sqlitestore: %s: %w", op, err)
	}
	if a := advice(err); a != "" {
		return fmt.Errorf("sqlitestore: %s: %s: %w", op, a, err)
	}
	return fmt.Errorf("sqlitestore: %s: %w", op, err)
}

// known reports whether err is one that a caller tests for.
func known(err error) bool {
	for _, target := range []error{
		webhook.ErrNotFound, webhook.ErrConflict, webhook.ErrExists, webhook.ErrTooManyWebhooks, webhook.ErrEventConflict,
		webhook.ErrCursor, ErrSchema, ErrClosed, ErrNotDurable,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// unreadable says which part of a stored webhook cannot be read. The error of
// the decoder may quote the value, so it is left out where that is secret.
func unreadable(id, column string, err error) error {
	if column == "secrets" {
		return fmt.Errorf("webhook %s: column secrets cannot be read", id)
	}
	return fmt.Errorf("webhook %s: column %s: %w", id, column, err)
}
