package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed68722ecd/webhook"
)

// ErrSchema says that the tables are missing or of another version than this
// package: call [Store.Migrate], or update the program.
var ErrSchema = errors.New("database schema does not fit")

// ErrEncoding says that the encoding of the database, or of the connection to it,
// is not UTF8. The text of the error says what to do.
var ErrEncoding = errors.New("encoding does not fit")

// sqlState returns the SQLSTATE of a server's error. The error types of pgx and
// lib/pq both have the method, so that no driver need be imported.
func sqlState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// lostToOther reports whether the server rolled a transaction back only because of
// a conflict with another transaction. Such a transaction has written no rows.
func lostToOther(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}

// retryAlone reports whether the error of a group may be the fault of one member:
// the server refused the statement and was not out of reach, out of room or going
// down.
func retryAlone(err error) bool {
	state := sqlState(err)
	if len(state) != 5 || errors.Is(err, ErrSchema) || errors.Is(err, ErrEncoding) {
		return false
	}
	switch state[:2] {
	case "08", "53", "55", "57", "58", "25", "28", "40", "42":
		return false
	}
	return true
}

// advice tells an operator how to handle an error of the server.
func advice(err error) string {
	state := sqlState(err)
	if errors.Is(err, errReadOnly) {
		state = "25006"
	}
	switch state {
	case "42P01", "42703", "3F000", "42704":
		return "tables are missing or of another version: call Migrate"
	case "23505":
		return "a number is taken: a sequence is behind its table, as after a logical replication: call Migrate, which sets it"
	case "42P02":
		return "the statement came without its parameters, as a transaction that formats queries by itself sends it: " +
			"pass the *sql.Tx inside (tx.Tx of a bun.Tx)"
	case "08P01", "42P05", "26000":
		return "something between this program and the server shares its sessions, as PgBouncer in transaction mode does: " +
			"add default_query_exec_mode=simple_protocol to pgx's DSN, binary_parameters=yes to that of lib/pq"
	case "42501":
		return "the role lacks a privilege on the tables"
	case "53100":
		return "the disk is full: free some space; nothing was stored"
	case "53200":
		return "the server is out of memory"
	case "53300":
		return "too many connections: lower db.SetMaxOpenConns or raise max_connections"
	case "55P03":
		return "a lock was not free in time: look for a long transaction in pg_stat_activity"
	case "57014":
		return "the statement was cancelled or ran into a time-out"
	case "57P01", "57P02", "57P03":
		return "the server is shutting down or starting: it is retried once it is up"
	case "25006":
		return "the server is read-only, as after a failover: connect to the primary (target_session_attrs=read-write in the DSN finds it)"
	case "40001", "40P01":
		return "it lost to other transactions several times"
	default:
		if len(state) == 5 && state[:2] == "08" {
			return "the connection was lost"
		}
		return ""
	}
}

// wrap adds the operation to an error of the database, and advice about it. If ctx
// is done, the error of ctx comes first, whatever the driver made of it.
func wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) && !known(err) {
		return fmt.Errorf("pgstore: %s: %w (%w)", op, cause, err)
	}
	if a := advice(err); a != "" {
		return fmt.Errorf("pgstore: %s: %s: %w", op, a, err)
	}
	return fmt.Errorf("pgstore: %s: %w", op, err)
}

// known reports whether err is an error that callers test for.
func known(err error) bool {
	for _, target := range []error{
		webhook.ErrNotFound, webhook.ErrConflict, webhook.ErrExists, webhook.ErrTooManyWebhooks, webhook.ErrCursor, ErrSchema, ErrEncoding,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
