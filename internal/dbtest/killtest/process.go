package killtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/machineclock"
)

// roleVariable holds the path of a spec in the environment of a child.
const roleVariable = "KILLTEST_SPEC"

// spec is all that a child process is told.
type spec struct {
	Role string // a key of roles
	Exe  string // that it is started from; empty: this binary
	Name string // of this process, and of its files
	Dir  string // where the files of the run are
	Seed uint64

	Engine string // a key of engines
	DSN    string
	Schema string

	// Publisher.
	Rate    int    // events per second
	First   uint64 // number of its first event
	Workers int

	// Dispatcher.
	Lease    time.Duration
	Poll     time.Duration
	Drain    time.Duration
	PoolSize int           // connections; 0: 12
	Clock    time.Duration // added to the clock
	Jump     time.Duration // added besides while the file clock-jump exists
	Machine  time.Duration // the same for the clock of the machine, in every process
	Point    string        // where it kills itself; see watched
	PointAt  int           // at which passage
	Poison   bool          // it dies at the first event of poisonType

	// Rotator.
	Hooks map[string]string // IDs of webhooks by key

	// Host.
	Receiver   string        // address
	MaxPending int           // of its memory store
	Patience   time.Duration // how long it waits for its store to be empty before it stops
}

// file is a file of this process.
func (s *spec) file(kind string) string { return filepath.Join(s.Dir, s.Name+"."+kind) }

// Main runs the role that the environment asks for and does not return then. A
// test binary calls it first in TestMain.
func Main() {
	path := os.Getenv(roleVariable)
	if path == "" {
		return
	}
	raw, err := os.ReadFile(path) //nolint:gosec // written by the driver for this process
	var s spec
	if err == nil {
		err = json.Unmarshal(raw, &s) //nolint:musttag // both ends are this type
	}
	if err == nil {
		// A child whose driver has died ends.
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
		if s.Machine != 0 {
			machineclock.Set(s.jumping(s.Machine))
		}
		roles := map[string]func(*spec) error{
			"receiver": receive, "publisher": publish, "dispatcher": dispatch, "rotator": rotate, "migrator": migrate, "host": host,
		}
		if role := roles[s.Role]; role != nil {
			err = role(&s)
		} else {
			err = fmt.Errorf("no role %q", s.Role)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "killtest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a child.
type process struct {
	spec  spec
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended
	err   error         // how, once done is closed
	log   *os.File
	ended time.Time // when it was killed or told to stop
}

// start starts a child and waits until it is ready.
func start(t testing.TB, s spec) *process {
	t.Helper()
	p := &process{spec: s, done: make(chan struct{})}
	raw, err := json.Marshal(s) //nolint:musttag // both ends are this type
	if err != nil {
		t.Fatal(err)
	}
	path := s.file("spec")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if p.log, err = os.Create(s.file("log")); err != nil {
		t.Fatal(err)
	}
	exe := s.Exe
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	p.cmd = exec.CommandContext(context.Background(), exe) //nolint:gosec // this binary itself, or one like it; it is ended by stop
	p.cmd.Env = append(os.Environ(), roleVariable+"="+path, "SSL_CERT_FILE="+filepath.Join(s.Dir, "ca.pem"), "GORACE=exitcode=66")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.log.Close()
		close(p.done)
	}()
	return p
}

// ready waits until the child has said that it works.
func (p *process) ready(t testing.TB) string {
	t.Helper()
	var text []byte
	ok := eventually(60*time.Second, func() bool {
		var err error
		text, err = os.ReadFile(p.spec.file("ready"))
		return err == nil && len(text) > 0 || p.over()
	})
	if !ok || len(text) == 0 {
		log, _ := os.ReadFile(p.spec.file("log"))
		t.Fatalf("%s did not become ready:\n%s", p.spec.Name, log)
	}
	return string(text)
}

// sayReady is the child's side of ready.
func (s *spec) sayReady(text string) error {
	tmp := s.file("ready.tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.file("ready"))
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signaled returns the signal that ended it; 0 when it ended otherwise.
func (p *process) signaled() syscall.Signal {
	if !p.over() {
		return 0
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

// signal sends a signal to this child, if it still runs.
func (p *process) signal(sig syscall.Signal) {
	if !p.over() {
		_ = p.cmd.Process.Signal(sig)
	}
}

// kill ends it as a power cut would end it.
func (p *process) kill() {
	p.ended = time.Now()
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stopLimit is how long a process may take to end in order.
const stopLimit = 30 * time.Second

// stop asks it to end in order and returns how it ended.
func (p *process) stop() error {
	p.ended = time.Now()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopLimit + p.spec.Patience):
		p.signal(syscall.SIGQUIT) // its goroutines are in the log then
		<-p.done
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.spec.Name, stopLimit+p.spec.Patience), p.err)
	}
}

// eventually polls ok until it is true, at most for limit.
func eventually(limit time.Duration, ok func() bool) bool {
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-end.C:
			return ok()
		case <-tick.C:
		}
	}
}
