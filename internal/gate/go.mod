module github.com/seed68722ecd/webhook/internal/gate

go 1.26
