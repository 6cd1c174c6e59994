package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// server is a throw-away PostgreSQL, reachable through a unix socket only. It
// ends with this process, also if the process is killed.
type server struct {
	dir string
	cmd *exec.Cmd
	end io.Closer
}

// startServer creates a server in a temporary folder.
func startServer(ctx context.Context) (*server, error) {
	bin, err := findServer()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	// PostgreSQL refuses to run as root.
	var as []string
	if os.Getuid() == 0 {
		as = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}
		if err := giveAway(dir, "postgres"); err != nil {
			s.stop()
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := slices.Concat(as, []string{filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"})
	cmd := exec.CommandContext(ctx, initdb[0], initdb[1:]...) //nolint:gosec // programs found where they are installed
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.stop()
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// The shell stops the server when its own input ends, which happens at the
	// latest when this process ends.
	const script = `"$@" & pid=$!; read -r _; kill -INT $pid; wait $pid`
	args := slices.Concat([]string{"-c", script, "sh"}, as, []string{filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-h", ""})
	s.cmd = exec.Command("sh", args...) //nolint:gosec,noctx // as above; stop ends it in order
	s.cmd.Dir = dir
	if s.end, err = s.cmd.StdinPipe(); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		s.stop()
		return nil, err
	}
	if err := s.wait(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// findServer returns the folder of the newest server installed.
func findServer() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is valid
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
	return "", errors.New("no PostgreSQL server found in /usr/lib/postgresql or PATH: name a database with -db postgres://…, " +
		"or install one (apt-get install -y postgresql)")
}

// giveAway makes a user the owner of dir.
func giveAway(dir, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("the server cannot run as root: %w", err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return errors.Join(err1, err2, os.Chown(dir, uid, gid))
}

func (s *server) dsn() string {
	return "host=" + s.dir + " user=postgres dbname=postgres"
}

// wait returns once the server answers.
func (s *server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	db, err := sql.Open("pgx", s.dsn())
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
			return fmt.Errorf("the server in %s does not answer: %w", s.dir, err)
		case <-tick.C:
		}
	}
}

// stop ends the server and removes its files.
func (s *server) stop() {
	if s.end != nil {
		s.end.Close()
	}
	if s.cmd != nil {
		_ = s.cmd.Wait() // stopped on purpose
	}
	os.RemoveAll(s.dir)
}
