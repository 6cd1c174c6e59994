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
	// longer than Config.BusyTimeout. The call stored nothing; try again, and look
	// for a transaction that was left open.
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

// code returns SQLite's result code, extended if the driver provides that, or 0.
// Every driver has its own error type, with a method or a field of that name. Some
// join it with other errors, for example if closing a statement fails as well: the
// first code counts.
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

// number returns the value of an integer, or the integer that a function without
// parameters returns.
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

// useless reports errors after which a connection must not be used again. The disk
// failed, or the connection was opened while the file could not be written and
// would stay read-only, or database/sql or the driver have given the connection up.
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

// blameless reports errors that every member of a group would meet alike, so that
// running the members one by one is pointless.
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

// advice tells an operator how to handle an error of SQLite.
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
		return "the disk failed, or files of the database were removed: check the stored data with a new connection"
	case codeCorrupt, codeNotADB:
		return "the file is damaged or is not an SQLite database: restore it from a backup"
	case codeFull:
		return "the disk is full, or the database has reached max_page_count: nothing was stored"
	case codeCantOpen:
		return "the file cannot be opened: check its path and permissions"
	}
	return ""
}

// wrap adds the operation to an error, and advice about it. If ctx is done, the
// error of ctx comes first, whatever the driver made of it.
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

// known reports whether err is an error that callers test for.
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

// unreadable names the column of a stored webhook that cannot be read. The
// decoder's error may quote the value, so it is left out for secrets.
func unreadable(id, column string, err error) error {
	if column == "secrets" {
		return fmt.Errorf("webhook %s: column secrets cannot be read", id)
	}
	return fmt.Errorf("webhook %s: column %s: %w", id, column, err)
}
