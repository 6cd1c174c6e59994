// Package dbtest starts the real databases on which the durable stores are tested.
// It is a module of its own, so that the published one requires no driver.
package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to find out when the server answers
)

// Postgres is a temporary PostgreSQL server with its own data directory. It listens
// on a unix socket and on a random port of the loopback interface, trusts all
// connections, and writes to the disk like a production server.
type Postgres struct {
	Port int
	Dir  string // holds data, socket and log

	bin  string
	cred *syscall.Credential
	args []string
	cmd  *exec.Cmd
	end  io.Closer // closing it stops the server

	besides []func() error // stop the programs in front of the server
}

// StartPostgres creates and starts a server. Settings, such as
// "shared_buffers=256MB", replace those of its configuration. The caller must
// call Stop. The server also stops when this process dies.
func StartPostgres(settings ...string) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	p, err := newPostgres(bin)
	if err != nil {
		return nil, err
	}
	if err := p.create(settings); err != nil {
		return nil, err
	}
	return p, nil
}

// newPostgres makes the folder of a server whose programs are in bin.
func newPostgres(bin string) (*Postgres, error) {
	p := &Postgres{bin: bin}
	var err error
	if p.cred, err = postgresUser(); err != nil {
		return nil, err
	}
	if p.Dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	err = p.own(p.Dir)
	return p, err
}

// own makes the server's user the owner of a file or folder.
func (p *Postgres) own(path string) error {
	if p.cred == nil {
		return nil
	}
	return os.Chown(path, int(p.cred.Uid), int(p.cred.Gid))
}

// create makes the data directory and starts the server; after an error it removes
// both.
func (p *Postgres) create(settings []string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	initdb := p.command("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if p.Port, err = freePort(); err != nil {
		return err
	}
	p.args = []string{"-D", p.data(), "-k", p.Dir, "-h", "127.0.0.1", "-p", strconv.Itoa(p.Port), "-c", "max_connections=200"}
	for _, s := range settings {
		p.args = append(p.args, "-c", s)
	}
	return p.Start()
}

// postgresBin finds the server's programs: the newest version installed, or in
// PATH.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	best, newest := "", 0
	for _, f := range found {
		dir := filepath.Dir(f)
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && v > newest {
			best, newest = dir, v
		}
	}
	if best != "" {
		return best, nil
	}
	if f, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(f), nil
	}
	return "", errors.New("PostgreSQL's server programs are neither under /usr/lib/postgresql nor in PATH; " +
		"install them: apt-get install -y postgresql")
}

// postgresUser returns the user that the server runs as: it refuses to run as root.
func postgresUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the server cannot run as root: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

func freePort() (int, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (p *Postgres) data() string { return filepath.Join(p.Dir, "data") }
func (p *Postgres) log() string  { return filepath.Join(p.Dir, "log") }

// command returns a command that runs as the server's user.
func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), filepath.Join(p.bin, name), args...) //nolint:gosec // a program of PostgreSQL's
	p.demote(c)
	return c
}

func (p *Postgres) demote(c *exec.Cmd) {
	c.Dir = p.Dir
	c.Env = append(os.Environ(), "LC_ALL=C", "HOME="+p.Dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Setpgid: true}
}

// Start starts a server that was stopped or has died, and returns when it answers.
func (p *Postgres) Start() error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// The shell ends the server when the shell's input ends, also when this process
	// is killed.
	const script = `exec 3<&0; "$@" <&- 3<&- & pid=$!; (read -r _ <&3; kill -INT $pid) 2>/dev/null & exec 3<&-; wait $pid`
	p.cmd = exec.CommandContext(context.Background(), "sh", append([]string{"-c", script, "sh", filepath.Join(p.bin, "postgres")}, p.args...)...) //nolint:gosec // as above
	p.demote(p.cmd)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if p.end, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	return ready(p.DSN(), p.log(), startLimit)
}

// startLimit is how long a program may take until it answers.
const startLimit = 60 * time.Second

// ready waits until a server that writes to a log answers.
func ready(dsn, log string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log) //nolint:gosec // the server's own log
			return fmt.Errorf("the server did not answer within %v: %w\n%s", limit, err, bytes.TrimSpace(text))
		case <-tick.C:
		}
	}
}

// DSN returns the connection string, in the form that pgx and lib/pq share.
func (p *Postgres) DSN() string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable", p.Dir, p.Port)
}

// Stop ends the server and removes its files. It may be called twice.
func (p *Postgres) Stop() error {
	var err error
	for _, stop := range p.besides {
		err = errors.Join(err, stop())
	}
	p.besides = nil
	if p.end != nil {
		p.end.Close()
		p.end = nil
		err = errors.Join(err, p.cmd.Wait())
	}
	return errors.Join(err, os.RemoveAll(p.Dir))
}

// Pid returns the process ID of the server's first process.
func (p *Postgres) Pid() (int, error) {
	text, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(line)
}
