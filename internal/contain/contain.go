// Package contain calls code of the host that may panic, such as its store, its
// signer, its hooks and its log handler, so that a panic harms nothing but its
// own call. It also mutes warnings that many calls would repeat.
package contain

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Call calls f and turns a panic into a [*PanicError]. what names the call for
// the error and the log.
func Call[T any](what string, f func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{what: what, value: r, stack: debug.Stack()}
		}
	}()
	return f()
}

// Run is [Call] for functions that return only an error.
func Run(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{what: what, value: r, stack: debug.Stack()}
		}
	}()
	return f()
}

// PanicError is a panic that was contained.
type PanicError struct {
	what  string
	value any
	stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.what, e.value) }

// Log reports the panic with its stack.
func (e *PanicError) Log(log *slog.Logger) {
	log.Error("webhook: a panic was contained", "in", e.what, "panic", fmt.Sprint(e.value), "stack", string(e.stack))
}
