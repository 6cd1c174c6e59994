package contain_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
)

func TestAPanicBecomesAnError(t *testing.T) {
	calls := map[string]func(f func()) error{
		"Call": func(f func()) error {
			_, err := contain.Call("the hook", func() (int, error) { f(); return 0, nil })
			return err
		},
		"Run": func(f func()) error { return contain.Run("the hook", func() error { f(); return nil }) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if err := call(func() {}); err != nil {
				t.Errorf("a call that did not panic returned %v", err)
			}
			err := call(func() { panic("boom") })
			p, ok := errors.AsType[*contain.PanicError](err)
			if !ok || err.Error() != "the hook panicked: boom" {
				t.Fatalf("a panic became %v", err)
			}
			var log bytes.Buffer
			p.Log(slog.New(slog.NewTextHandler(&log, nil)))
			for _, part := range []string{"level=ERROR", `in="the hook"`, "panic=boom", "contain_test.go"} {
				if !strings.Contains(log.String(), part) {
					t.Errorf("the log does not say %s: %s", part, log.String())
				}
			}
		})
	}
}

func TestCallPassesResultsAndErrors(t *testing.T) {
	broken := errors.New("broken")
	if v, err := contain.Call("it", func() (int, error) { return 7, broken }); v != 7 || err != broken {
		t.Errorf("Call returned %d, %v", v, err)
	}
	if err := contain.Run("it", func() error { return broken }); err != broken {
		t.Errorf("Run returned %v", err)
	}
}

type panicking struct{}

func (panicking) Enabled(context.Context, slog.Level) bool {
	panic("enabled")
}
func (panicking) Handle(context.Context, slog.Record) error { panic("handle") }
func (p panicking) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicking) WithGroup(string) slog.Handler           { return p }

func TestAPanickingLogHandlerLosesOnlyItsLine(t *testing.T) {
	log := contain.Logger(slog.New(panicking{}))
	log.Error("lost")
	log.With("a", 1).WithGroup("g").Error("lost too")
	if err := log.Handler().Handle(t.Context(), slog.Record{}); err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	log = contain.Logger(slog.New(slog.NewTextHandler(&out, nil)))
	log.With("a", 1).WithGroup("g").Info("kept", "b", 2)
	if !strings.Contains(out.String(), "msg=kept a=1 g.b=2") {
		t.Errorf("the line is %s", out.String())
	}
}

func TestMuteLetsOneWarningPassPerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m contain.Mute
		want := func(muted int, ok bool) {
			t.Helper()
			if gotMuted, gotOK := m.Pass(); gotMuted != muted || gotOK != ok {
				t.Errorf("Pass returned %d, %v, want %d, %v", gotMuted, gotOK, muted, ok)
			}
		}
		want(0, true)
		want(0, false)
		want(0, false)
		time.Sleep(contain.MuteInterval)
		want(2, true)
		want(0, false)
		time.Sleep(contain.MuteInterval)
		want(1, true)
	})
}
