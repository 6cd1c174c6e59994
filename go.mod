module github.com/seed68722ecd/webhook

go 1.26.0

require (
	github.com/cenkalti/backoff/v4 v4.3.0
	github.com/google/go-cmp v0.7.0
	golang.org/x/sync v0.24.0
)
