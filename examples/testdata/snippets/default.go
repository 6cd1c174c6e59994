// Package snippet holds one Go block of the documentation, and this file: the
// declarations that the text takes for granted.
package snippet

import (
	"context"
	"database/sql"
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
)

var (
	ctx   context.Context
	dsn   string
	db    *sql.DB
	d     *webhook.Dispatcher
	store *pgstore.Store
	order struct{ ID int64 }
	tx    *sql.Tx

	tenant, webhookID string
)

// mystore is the package of a host that writes its own store.
var mystore struct {
	New func(*testing.T) webhook.Store
}
