package killtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/dbtest"
)

// server is a PostgreSQL server that the driver stops, kills and restarts.
type server struct {
	t    testing.TB
	pg   *dbtest.Postgres
	args []string
	exe  string
	// group is the process group of the shell that started the server first; 0
	// once it has been ended, so that it does not signal a process which got the
	// server's number later.
	group int
	own   *exec.Cmd // the running server, once it has been restarted here
	done  chan struct{}
}

// startServer creates a server with a data directory of its own. A missing
// PostgreSQL fails the test.
func startServer(t testing.TB) *server {
	t.Helper()
	pg, err := dbtest.StartPostgres("shared_buffers=128MB", "log_min_messages=fatal")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, pg: pg}
	pid, err := pg.Pid()
	if err == nil {
		s.exe, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	}
	var line []byte
	if err == nil {
		line, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.group, err = syscall.Getpgid(pid); err != nil {
		t.Fatal(err)
	}
	s.args = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")[1:]
	t.Cleanup(func() {
		if s.own != nil {
			s.signal(syscall.SIGINT)
			<-s.done
		}
		_ = pg.Stop() // its shell ends as it did when the server was first stopped
	})
	return s
}

// dsn is the address of the server, on a unix socket or at a port.
func (s *server) dsn(port int) string {
	if port == 0 {
		return s.pg.DSN()
	}
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", port)
}

func (s *server) socket() (network, address string) {
	return "unix", filepath.Join(s.pg.Dir, ".s.PGSQL."+strconv.Itoa(s.pg.Port))
}

// open opens a pool of the driver's own, past every proxy.
func (s *server) open() *sql.DB {
	db, err := sql.Open("pgx", s.pg.DSN())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { db.Close() })
	return db
}

// signal sends a signal to the server's first process. pg_ctl stop does no
// more: SIGINT is its fast mode, SIGQUIT its immediate one.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	pid, err := s.pg.Pid()
	if err == nil {
		err = syscall.Kill(pid, sig)
	}
	if err != nil {
		s.t.Fatalf("signal %v to the server: %v", sig, err)
	}
}

// down sends a signal and waits until no process of the server is left.
func (s *server) down(sig syscall.Signal) {
	s.t.Helper()
	pid, err := s.pg.Pid()
	if err != nil {
		s.t.Fatal(err)
	}
	family := append(s.children(pid), pid)
	s.signal(sig)
	gone := eventually(60*time.Second, func() bool {
		for _, p := range family {
			if parent, state := procStat(p); parent > 0 && state != "Z" && (p == pid || parent == pid || parent == 1) && s.is(p) {
				return false
			}
		}
		return true
	})
	if !gone {
		s.t.Fatalf("the server did not end within 60 s of %v", sig)
	}
	if s.own != nil {
		<-s.done
	} else if s.group > 1 {
		_ = syscall.Kill(-s.group, syscall.SIGKILL)
		s.group = 0
	}
}

// is reports whether a process runs the server's program.
func (s *server) is(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == s.exe
}

// up starts the server again and waits until it answers.
func (s *server) up() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.pg.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(background(), s.exe, s.args...) //nolint:gosec // the server that was started before
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.pg.Dir, log, log
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: serverUser(s.t), Pdeathsig: syscall.SIGINT}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.own, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) { _ = cmd.Wait(); close(done) }(s.done)
	db := s.open()
	defer db.Close()
	if !eventually(60*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(background(), time.Second)
		defer cancel()
		return db.PingContext(ctx) == nil
	}) {
		text, _ := os.ReadFile(filepath.Join(s.pg.Dir, "log"))
		s.t.Fatalf("the server did not come back:\n%s", text)
	}
}

// serverUser returns whom the server runs as; nil means as this process.
func serverUser(t testing.TB) *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// children returns the processes that a process has started.
func (s *server) children(pid int) []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	var out []int
	for _, d := range dirs {
		if p, err := strconv.Atoi(filepath.Base(d)); err == nil {
			if parent, _ := procStat(p); parent == pid {
				out = append(out, p)
			}
		}
	}
	return out
}

// procStat returns the parent of a process and its state; 0 when there is none.
func procStat(pid int) (parent int, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
		return 0, ""
	}
	return parent, state
}

// freeze stops the server's processes that serve clients, or lets them go on.
func (s *server) freeze(frozen bool) {
	s.t.Helper()
	pid, err := s.pg.Pid()
	if err != nil {
		s.t.Fatal(err)
	}
	sig := syscall.SIGCONT
	if frozen {
		sig = syscall.SIGSTOP
	}
	for _, p := range append(s.children(pid), pid) {
		_ = syscall.Kill(p, sig) // one that has ended meanwhile is no loss
	}
}
