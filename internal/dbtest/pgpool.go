package dbtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Pool is a temporary pgpool-II in front of a primary and its standby. The standby
// gets every query that pgpool considers a mere read.
type Pool struct{ port int }

// StartPool starts pgpool-II with further settings. It stops with the primary,
// whose Stop also removes its files.
func StartPool(primary, standby *Postgres, settings string) (*Pool, error) {
	program, err := exec.LookPath("pgpool")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgpool"); err != nil {
			return nil, fmt.Errorf("pgpool-II is missing; install it: apt-get install -y pgpool2: %w", err)
		}
	}
	b := &Pool{}
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	pcp, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(primary.Dir, "pool")
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = %d
socket_dir = '%[3]s'
pcp_listen_addresses = '127.0.0.1'
pcp_port = %[2]d
pcp_socket_dir = '%[3]s'
pid_file_name = '%[3]s/pgpool.pid'
logdir = '%[3]s'
work_dir = '%[3]s'
num_init_children = 16
backend_hostname0 = '%[4]s'
backend_port0 = %[5]d
backend_weight0 = 0
backend_flag0 = 'DISALLOW_TO_FAILOVER'
backend_hostname1 = '%[6]s'
backend_port1 = %[7]d
backend_weight1 = 1
backend_flag1 = 'DISALLOW_TO_FAILOVER'
load_balance_mode = on
sr_check_period = 1
sr_check_user = 'postgres'
health_check_period = 0
use_watchdog = off
%[8]s
`, b.port, pcp, dir, primary.Dir, primary.Port, standby.Dir, standby.Port, settings)
	errs := []error{primary.own(dir)}
	for name, content := range map[string]string{"pgpool.conf": text, "pcp.conf": "", "pool_hba.conf": ""} {
		path := filepath.Join(dir, name)
		errs = append(errs, os.WriteFile(path, []byte(content), 0o600), primary.own(path))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	out, err := primary.beside("INT", program, "-n", "-f", file("pgpool.conf"), "-F", file("pcp.conf"), "-a", file("pool_hba.conf"))
	if err != nil {
		return nil, err
	}
	if err := ready(b.DSN(), file("log"), startLimit); err != nil {
		return nil, fmt.Errorf("pgpool-II: %w\n%s", err, out)
	}
	return b, nil
}

// DSN returns the connection string.
func (b *Pool) DSN() string {
	return "host=127.0.0.1 port=" + strconv.Itoa(b.port) + " user=postgres dbname=postgres sslmode=disable"
}
