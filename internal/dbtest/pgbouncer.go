package dbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Bouncer is a temporary PgBouncer in transaction mode in front of a server.
type Bouncer struct {
	server *Postgres
	port   int
}

// StartBouncer starts PgBouncer in front of p, with a pool of size connections. It
// stops with the server, whose Stop also removes its files.
func StartBouncer(p *Postgres, size int) (*Bouncer, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return nil, fmt.Errorf("PgBouncer is missing; install it: apt-get install -y pgbouncer: %w", err)
		}
	}
	b := &Bouncer{server: p}
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	dir := filepath.Join(p.Dir, "bouncer")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
logfile = %s
`, p.Dir, p.Port, b.port, size, filepath.Join(dir, "log"))
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), p.own(config), p.own(dir)); err != nil {
		return nil, err
	}
	out, err := p.beside("TERM", program, config)
	if err != nil {
		return nil, err
	}
	if err := ready(b.DSN("default_query_exec_mode=simple_protocol"), filepath.Join(dir, "log"), startLimit); err != nil {
		return nil, fmt.Errorf("PgBouncer: %w\n%s", err, out)
	}
	return b, nil
}

// beside starts a program as the server's user. It is stopped with the server, by a
// signal; the buffer gets its output.
func (p *Postgres) beside(signal, program string, args ...string) (*bytes.Buffer, error) {
	// The shell ends it when its input ends, as it does for the server.
	const script = `exec 3<&0; sig=$1; shift; "$@" <&- 3<&- & pid=$!; (read -r _ <&3; kill -$sig $pid) 2>/dev/null & exec 3<&-; wait $pid`
	cmd := exec.CommandContext(context.Background(), "sh", append([]string{"-c", script, "sh", signal, program}, args...)...) //nolint:gosec // a program of the system's
	p.demote(cmd)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	end, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.besides = append(p.besides, func() error {
		end.Close()
		_ = cmd.Wait() // it was told to end
		return nil
	})
	return out, nil
}

// DSN returns the connection string, with options of the driver.
func (b *Bouncer) DSN(options string) string {
	return "host=127.0.0.1 port=" + strconv.Itoa(b.port) + " user=postgres dbname=postgres sslmode=disable " + options
}
