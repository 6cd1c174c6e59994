module github.com/seed68722ecd/webhook/internal/interop

go 1.26.0

require (
	github.com/seed68722ecd/webhook v0.0.0
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/seed68722ecd/webhook => ../..
