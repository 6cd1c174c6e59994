package killtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed68722ecd/webhook"
)

// background is the context of what lasts as long as the process.
func background() context.Context { return context.Background() }

// publish is the publisher: it writes down what it is about to publish, and
// then, on the disk, what was acknowledged. After an error it repeats the call
// with the same ID, until it is told to stop.
func publish(s *spec) error {
	ctx, stop := signal.NotifyContext(background(), syscall.SIGTERM)
	defer stop()
	db, store, err := openWatched(s)
	if err != nil {
		return err
	}
	defer db.close()
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		return err
	}
	p, err := s.newPublisher(d)
	if err != nil {
		return err
	}
	defer p.out.Close()
	p.db = db
	if err := s.sayReady("ready"); err != nil {
		return err
	}
	return p.load(ctx)
}

func (s *spec) newPublisher(d *webhook.Dispatcher) (*publisher, error) {
	out, err := os.OpenFile(s.file("published"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &publisher{spec: s, d: d, out: out, next: s.First}, err
}

// load publishes until ctx ends.
func (p *publisher) load(ctx context.Context) error {
	s := p.spec
	tick := time.NewTicker(time.Second / time.Duration(s.Rate))
	defer tick.Stop()
	work := make(chan uint64, 1024)
	var workers sync.WaitGroup
	for range s.Workers {
		workers.Go(func() {
			for n := range work {
				p.one(ctx, n)
			}
		})
	}
	begin := time.Now()
	for sent := 0; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
			// A late tick is made up for, within what the workers can hold.
			for due := int(time.Since(begin).Seconds() * float64(s.Rate)); sent < due; sent++ {
				select {
				case work <- p.next:
					p.next++
				default:
				}
			}
		}
	}
	close(work)
	workers.Wait()
	return errors.Join(p.failed(), p.out.Sync())
}

type publisher struct {
	spec *spec
	d    *webhook.Dispatcher
	db   *database // nil: a memory store, which has no transactions
	next uint64

	mu  sync.Mutex
	out *os.File
	err atomic.Pointer[error]

	sync  sync.Mutex // one fsync at a time; those that wait share the next
	round atomic.Int64
}

func (p *publisher) fail(err error) { p.err.CompareAndSwap(nil, &err) }

func (p *publisher) failed() error {
	if e := p.err.Load(); e != nil {
		return *e
	}
	return nil
}

// note writes one line, and with durable waits until it is on the disk.
func (p *publisher) note(durable bool, format string, args ...any) {
	line := fmt.Sprintf(format+"\n", args...)
	p.mu.Lock()
	_, err := p.out.WriteString(line)
	written := p.round.Load()
	p.mu.Unlock()
	if err == nil && durable {
		p.sync.Lock()
		if p.round.Load() <= written { // otherwise a sync has begun since
			p.round.Add(1)
			err = p.out.Sync()
		}
		p.sync.Unlock()
	}
	if err != nil {
		p.fail(err)
	}
}

// one publishes event n until it is acknowledged or the process is to stop.
func (p *publisher) one(ctx context.Context, n uint64) {
	ev := makeEvent(p.spec.Seed, n)
	in := webhook.Event{ID: ev.ID, Tenant: ev.Tenant, Type: ev.Type, Time: ev.Time, Data: json.RawMessage(ev.Data)}
	inTx := p.db != nil && n%10 == 0
	abandon := inTx && mix(p.spec.Seed, "rollback", n)%5 == 0
	if abandon {
		p.note(false, "%d rollback %d", time.Now().UnixNano(), n)
	} else {
		p.note(false, "%d intent %d", time.Now().UnixNano(), n)
	}
	wait := 20 * time.Millisecond
	for {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		var err error
		if inTx {
			err = p.inTx(call, in, abandon)
		} else {
			_, err = p.d.Publish(call, in)
		}
		cancel()
		if err == nil || abandon {
			if err == nil && !abandon {
				p.note(true, "%d ack %d", time.Now().UnixNano(), n)
			}
			return
		}
		p.note(false, "%d error %d %q", time.Now().UnixNano(), n, err)
		if errors.Is(err, webhook.ErrEventConflict) {
			p.fail(fmt.Errorf("event %d: %w", n, err))
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		wait = min(2*wait, time.Second)
	}
}

// inTx publishes in a transaction of its own, which it commits unless abandon.
func (p *publisher) inTx(ctx context.Context, in webhook.Event, abandon bool) error {
	req, err := p.d.Prepare(in)
	if err != nil {
		return err
	}
	tx, err := p.db.db.BeginTx(ctx, &sql.TxOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := p.db.publishTx(ctx, tx, req); err != nil {
		return err
	}
	if abandon {
		return tx.Rollback()
	}
	return tx.Commit()
}
