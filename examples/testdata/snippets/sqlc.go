package snippet

import (
	"context"
	"database/sql"

	"github.com/seed68722ecd/webhook"
)

// Queries is the type that sqlc generates for database/sql.
type Queries struct{}

func (q *Queries) WithTx(*sql.Tx) *Queries                     { return q }
func (q *Queries) MarkPaid(ctx context.Context, _ int64) error { return ctx.Err() }

var (
	queries *Queries
	req     webhook.PublishRequest
)
