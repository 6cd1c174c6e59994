// Package pgstore keeps webhooks, events and the queue of deliveries in the
// host's own PostgreSQL (14 or newer), where any number of processes deliver
// them together. It imports no driver: it takes a *sql.DB opened with pgx's
// stdlib, lib/pq or any other.
//
//	db, err := sql.Open("pgx", "postgres://app:secret@db:5432/app?sslmode=verify-full")
//	db.SetMaxOpenConns(10)
//	db.SetMaxIdleConns(10)
//	store, err := pgstore.New(db, pgstore.Config{})
//	err = store.Migrate(ctx)
//	d, err := webhook.New(store, webhook.Config{})
//
// An event can be published in the transaction of the change it reports, see
// [Store.PublishTx]. Nothing in the package needs a session: it works behind
// PgBouncer in transaction mode, provided that the driver does not prepare
// statements there (pgx: default_query_exec_mode=exec).
//
// # The pool
//
// The Store uses at most six connections at a time, whatever is in flight: one
// claims, one records, one renews, two store single publishes, one prunes; and
// one more for each concurrent call of the host's (lists, PublishAll). None is
// held during an HTTP request. In a pool that the host uses too, add them to
// what the host needs, since a Store that waits for a connection delivers late;
// a pool of its own, of ten, keeps either from starving the other, and
// PublishTx works all the same, as it uses the transaction's connection. A pool
// of one connection works, too.
//
// # Tables
//
// Pending deliveries are in queue, finished ones in deliveries, with the last
// attempt in the row; attempts has those before. The payload is in events and
// nowhere else. A delivery that succeeds at once is written four times in all:
// into the queue, once more there by the claim (within its page, no index
// changes), deleted from it, and into deliveries, which is never updated. So
// vacuum has work only in the queue, whose dead rows its settings let it remove
// as soon as there are some thousands, and indexes of the log never bloat.
//
// All times are microseconds since 1970 in UTC, by the database's clock:
// to_timestamp(created_at / 1e6).
//
// # Durability
//
// What Publish and Complete acknowledged is on the server's disk;
// synchronous_commit = off is refused. Claims alone do not wait for the disk: a
// lease that a crash of the server forgets has merely ended early.
package pgstore
