package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// specVariable is the environment variable that carries a child process's spec.
const specVariable = "WEBHOOK_BENCH_SPEC"

// child is another process of this program. It ends when its standard input
// ends, and so also when this process dies.
type child struct {
	cmd *exec.Cmd
	end io.Closer
}

// startChild starts this program in another role, and returns once the child
// has reported that it is ready.
func startChild(ctx context.Context, role string, spec, ready any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self)} //nolint:gosec // this program itself
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role, specVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	if c.end, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(out).Decode(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the %s did not start: %w", role, err), c.stop())
	}
	return c, nil
}

// stop ends the process and waits for it.
func (c *child) stop() error {
	c.end.Close()
	return c.cmd.Wait()
}
