package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverRows measure River, a general job queue, with the same work on the same
// PostgreSQL: each job signs a body and posts it.
func riverRows() []row {
	var rows []row
	add := func(name string, l load) {
		rows = append(rows, row{"river/postgres/" + name, func(ctx context.Context, e *env) ([]figure, error) { return e.river(ctx, l) }})
	}
	add("batched", load{batch: 100, publishers: 4})
	add("single-64", load{publishers: 64})
	return rows
}

// riverJob is a body to send.
type riverJob struct {
	Body string `json:"body"`
}

// Kind names the job.
func (riverJob) Kind() string { return "post" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]
	client *http.Client
	url    string
}

// Work does the work of the bare loop.
func (w *riverWorker) Work(ctx context.Context, job *river.Job[riverJob]) error {
	return post(ctx, w.client, w.url, "bare", []byte(job.Args.Body))
}

// riverConfig is tuned for throughput: River fetches new jobs as often as it
// can (ten times a second by default), and the number of workers is the
// library's limit of attempts in flight for one webhook, or a multiple of it.
func riverConfig(schema string, workers *river.Workers) *river.Config {
	return &river.Config{
		Schema:            schema,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 500}},
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Workers:           workers,
		Logger:            slog.New(slog.DiscardHandler),
	}
}

// river measures jobs from insertion to recorded completion.
func (e *env) river(ctx context.Context, l load) (out []figure, err error) {
	bare, err := e.bare(ctx, smallBody, 1, false)
	if err != nil {
		return nil, err
	}
	server, err := e.postgres()
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(server.DSN())
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	schema := fmt.Sprintf("river_%d", e.made.Add(1))
	if _, err := pool.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return nil, err
	}
	defer closing(&err, func() error {
		_, err := pool.Exec(context.WithoutCancel(ctx), "DROP SCHEMA "+schema+" CASCADE")
		return err
	})
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	worker := &riverWorker{client: newBareClient(), url: e.sink.url("ok", 0, false)}
	defer worker.client.CloseIdleConnections()
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(driver, riverConfig(schema, workers))
	if err != nil {
		return nil, err
	}
	s, err := e.riverLoad(ctx, client, l)
	return s.against(bare), err
}

// riverLoad inserts jobs, as far ahead as the library's publishers may run, and
// counts completed jobs.
func (e *env) riverLoad(ctx context.Context, client *river.Client[pgx.Tx], l load) (s sample, err error) {
	completed, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: 100_000,
	})
	defer unsubscribe()
	if err := client.Start(ctx); err != nil {
		return s, err
	}
	defer closing(&err, func() error {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return client.Stop(stop)
	})
	q := newQuota(maxAhead)
	var done atomic.Int64
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for range completed {
			done.Add(1)
			q.give(1)
		}
	}()
	job := riverJob{Body: strings.Repeat("x", smallBody)}
	p := publishers(ctx, l.publishers, func(ctx context.Context) error {
		if err := q.take(ctx, max(l.batch, 1)); err != nil {
			return err
		}
		if l.batch == 0 {
			_, err := client.Insert(ctx, job, nil)
			return err
		}
		jobs := make([]river.InsertManyParams, l.batch)
		for i := range jobs {
			jobs[i].Args = job
		}
		_, err := client.InsertManyFast(ctx, jobs)
		return err
	})
	err = pause(ctx, e.opt.window/3)
	if err == nil {
		s, err = e.watch(ctx, "river", func() (int64, error) { return done.Load(), nil })
	}
	closing(&err, p.stop)
	select {
	case <-counted:
		err = errors.Join(err, errors.New("river ended its subscription"))
	default:
	}
	return s, err
}
