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
// [Store.PublishTx]. The package needs no session: it works behind PgBouncer in
// transaction mode, provided that the driver does not prepare statements there
// (pgx: default_query_exec_mode=exec).
//
// # The pool
//
// The Store uses at most six connections at a time, however many deliveries are in
// flight: one claims, one records, one renews, two store single publishes, one
// prunes. Each concurrent call of the host's (lists, PublishAll) uses one more. No
// connection is held during an HTTP request. If the host uses the same pool, add
// the Store's connections to its own: a Store that waits for a connection delivers
// late. A separate pool of ten keeps the Store and the host from starving each
// other; PublishTx works with it too, since it uses the transaction's connection. A
// pool of one connection works.
//
// # Tables
//
// Pending deliveries are in queue and finished deliveries in deliveries, each with
// its last attempt in the row; attempts has the earlier attempts. Payloads are in
// events only. A delivery that succeeds at once is written four times in all: it is
// inserted into the queue, updated there by the claim (within its page, no index
// changes), deleted from the queue, and inserted into deliveries, which is never
// updated. So only the queue gives vacuum work, its settings let vacuum remove dead
// rows as soon as there are some thousands, and the indexes of the log never bloat.
//
// All times are microseconds since 1970 in UTC, by the database's clock:
// to_timestamp(created_at / 1e6).
//
// # Durability
//
// A publish or result that Publish or Complete has acknowledged is on the server's
// disk; synchronous_commit = off is refused. Only claims do not wait for the disk:
// a lease that is lost in a crash of the server has merely ended early.
package pgstore
