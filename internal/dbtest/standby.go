package dbtest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Standby makes a streaming replica of a running server with pg_basebackup and
// starts it. It follows the server at the address of conninfo, which must be this
// server or lead to it. The caller must call Stop on the standby too.
func (p *Postgres) Standby(conninfo string) (*Postgres, error) {
	s, err := newPostgres(p.bin)
	if err != nil {
		return nil, err
	}
	if err := s.follow(p, conninfo); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (p *Postgres) follow(primary *Postgres, conninfo string) error {
	backup := p.command("pg_basebackup", "-D", p.data(), "-d", conninfo, "-X", "stream", "-c", "fast", "-R", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	var err error
	if p.Port, err = freePort(); err != nil {
		return err
	}
	// It has the primary's settings and its own paths.
	p.args = slices.Clone(primary.args)
	for i, arg := range p.args {
		p.args[i] = strings.Replace(arg, primary.Dir, p.Dir, 1)
		if i > 0 && p.args[i-1] == "-p" {
			p.args[i] = strconv.Itoa(p.Port)
		}
	}
	return p.Start()
}

// Promote makes a standby a primary and returns when it takes writes.
func (p *Postgres) Promote() error {
	if out, err := p.command("pg_ctl", "promote", "-D", p.data(), "-w").CombinedOutput(); err != nil {
		return fmt.Errorf("pg_ctl promote: %w\n%s", err, out)
	}
	return nil
}
