// Package program runs the examples for their tests as a user does: as
// processes, with their output and exit codes.
package program

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds each wait of a test. It is long because the machine may be
// busy.
const patience = 5 * time.Minute

// Build compiles the Go program in a folder and returns the path of the result.
func Build(t *testing.T, folder string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".") //nolint:gosec // a test compiles an example
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build in %s: %v\n%s", folder, err, out)
	}
	return bin
}

// Program is a running process.
type Program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process has ended and err is set
	err  error

	mu      sync.Mutex
	output  strings.Builder
	changed chan struct{} // closed at the next line
}

// Start starts a program and kills it when the test ends, if it has not ended
// by then.
func Start(t *testing.T, cmd *exec.Cmd) *Program {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd, err)
	}
	w.Close()
	p := &Program{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		p.read(r)
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		r.Close()
	})
	return p
}

func (p *Program) read(r io.Reader) {
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Output returns what the program has printed so far.
func (p *Program) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// WaitFor waits until the output matches a regular expression, and returns the
// match and its groups. It fails the test when the program ends before that.
func (p *Program) WaitFor(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		found, changed := re.FindStringSubmatch(p.output.String()), p.changed
		p.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-changed:
		case <-p.done:
			if found := re.FindStringSubmatch(p.Output()); found != nil {
				return found
			}
			t.Fatalf("%s ended (%v) without printing %s:\n%s", p.cmd, p.err, pattern, p.Output())
		case <-late.C:
			t.Fatalf("%s has not printed %s within %v:\n%s", p.cmd, pattern, patience, p.Output())
		}
	}
}

// Wait waits for the program to end by itself and returns its exit code.
func (p *Program) Wait(t *testing.T) (code int) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s has not ended within %v:\n%s", p.cmd, patience, p.Output())
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode()
	}
	if p.err != nil {
		t.Fatalf("%s: %v", p.cmd, p.err)
	}
	return 0
}

// Interrupt sends the signal of Ctrl-C to the program, and returns its exit
// code.
func (p *Program) Interrupt(t *testing.T) (code int) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatalf("interrupt %s: %v", p.cmd, err)
	}
	return p.Wait(t)
}
