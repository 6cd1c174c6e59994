package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed68722ecd/webhook"
)

// dispatcherSpec tells a dispatcher's process which store to use.
type dispatcherSpec struct {
	DSN    string `json:"dsn"`
	Schema string `json:"schema"`
}

// dispatcherMain runs a process that delivers from PostgreSQL until its
// standard input ends.
func dispatcherMain(ctx context.Context) error {
	var spec dispatcherSpec
	if err := json.Unmarshal([]byte(os.Getenv(specVariable)), &spec); err != nil {
		return err
	}
	store, err := openSchema(spec.DSN, spec.Schema)
	if err != nil {
		return err
	}
	d, err := webhook.New(store, dispatcherConfig())
	if err != nil {
		return errors.Join(err, store.close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(true); err != nil {
		return errors.Join(err, store.close())
	}
	err = d.Run(ctx)
	return errors.Join(err, store.close())
}

// processRows measure several dispatcher processes on one PostgreSQL, with the
// publishers in a process of their own.
func processRows() []row {
	var rows []row
	for _, n := range []int{1, 2, 4} {
		rows = append(rows, row{fmt.Sprintf("processes/postgres/%d", n), func(ctx context.Context, e *env) ([]figure, error) {
			return e.processes(ctx, n)
		}})
	}
	return rows
}

// processes counts at the sink, because no dispatcher process sees all
// deliveries.
func (e *env) processes(ctx context.Context, n int) (out []figure, err error) {
	const endpoints = 20
	bare, err := e.bare(ctx, smallBody, endpoints, false)
	if err != nil {
		return nil, err
	}
	// This dispatcher manages webhooks and publishes, but does not run.
	r, err := e.openRig(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer closing(&err, r.store.close)
	publish, err := e.prepareLoad(ctx, r, load{batch: 100, size: smallBody, fan: 1, endpoints: endpoints})
	if err != nil {
		return nil, err
	}
	server, err := e.postgres()
	if err != nil {
		return nil, err
	}
	var children []*child
	defer func() {
		for _, c := range children {
			closing(&err, c.stop)
		}
	}()
	for range n {
		var ready bool
		c, err := startChild(ctx, "dispatcher", dispatcherSpec{server.DSN(), r.store.schema}, &ready)
		if err != nil {
			return nil, err
		}
		children = append(children, c)
	}
	if _, err := e.sink.counts(ctx, "/reset"); err != nil {
		return nil, err
	}
	// Received requests let publishers go on.
	feeding, stopFeeding := context.WithCancel(ctx)
	fed := make(chan error, 1)
	go func() { fed <- e.feed(feeding, r) }()
	p := publishers(ctx, 2, publish)
	err = pause(ctx, e.opt.window/2)
	var s sample
	if err == nil {
		s, err = e.watch(ctx, "processes", e.sink.received(ctx))
	}
	stopFeeding()
	closing(&err, p.stop, func() error { return <-fed })
	return s.against(bare), err
}

// feedEvery is how often the received requests are passed on to publishers.
const feedEvery = 10 * time.Millisecond

// feed lets publishers go on as the sink receives requests.
func (e *env) feed(ctx context.Context, r *rig) error {
	var seen int64
	for pause(ctx, feedEvery) == nil {
		c, err := e.sink.counts(ctx, "/counts")
		if err != nil && ctx.Err() == nil {
			return err
		}
		for ; seen < c.OK; seen++ {
			r.release(seen)
		}
	}
	return nil
}
