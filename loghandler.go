package webhook

import (
	"context"
	"log/slog"
)

// containedHandler is the host's log handler, of which a panic loses a line and
// nothing else.
type containedHandler struct{ slog.Handler }

func containedLogger(l *slog.Logger) *slog.Logger { return slog.New(containedHandler{l.Handler()}) }

func (h containedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h containedHandler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
}

func (h containedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return containedHandler{h.Handler.WithAttrs(attrs)}
}

func (h containedHandler) WithGroup(name string) slog.Handler {
	return containedHandler{h.Handler.WithGroup(name)}
}
