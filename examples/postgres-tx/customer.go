package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/verify"
)

// customer is the receiver of the webhooks, which runs elsewhere in real life.
type customer struct {
	url     string
	server  *http.Server
	arrived chan struct{} // one for each delivery that verified

	mu      sync.Mutex
	handler http.Handler
	heard   map[int64]int // deliveries by order
}

func newCustomer(ctx context.Context) (*customer, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &customer{url: "http://" + ln.Addr().String() + "/hooks", arrived: make(chan struct{}, 16), heard: map[int64]int{}}
	c.server = &http.Server{ReadTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		h := c.handler
		c.mu.Unlock()
		h.ServeHTTP(w, r)
	})}
	go c.server.Serve(ln) //nolint:errcheck // it ends with ErrServerClosed
	return c, nil
}

// trust sets the secret that was shown when the webhook was created.
func (c *customer) trust(secret string) error {
	h, err := verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			Order int64 `json:"order"`
		}
		d, _ := verify.FromContext(r.Context())
		if err := d.Decode(&order); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		c.heard[order.Order]++
		c.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
		c.arrived <- struct{}{}
	}), secret)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handler = h
	return err
}

// wait returns after n deliveries have arrived.
func (c *customer) wait(ctx context.Context, n int) error {
	for i := range n {
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d deliveries arrived: %w", i, n, ctx.Err())
		}
	}
	return nil
}

// report prints a line per order. It returns an error unless the table, the
// queue and the customer agree on each order. It reads the queue's log too: a
// delivery that is not in the log will never be made.
func (s *shop) report(ctx context.Context, out io.Writer, c *customer) error {
	page, err := s.d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: tenant})
	if err != nil {
		return err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT id, state FROM `+s.orders+` ORDER BY id`) //nolint:gosec // this program chose the name
	if err != nil {
		return err
	}
	defer rows.Close()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ORDER\tTRANSACTION\tROW\tWEBHOOKS RECEIVED")
	paid := 0
	var wrong []error
	for rows.Next() {
		var id int64
		var state string
		if err := rows.Scan(&id, &state); err != nil {
			return err
		}
		transaction, want := "rolled back", 0
		if state == "paid" {
			transaction, want = "committed", 1
			paid++
		}
		c.mu.Lock()
		heard := c.heard[id]
		c.mu.Unlock()
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\n", id, transaction, state, heard)
		if heard != want {
			wrong = append(wrong, fmt.Errorf("order %d is %s, and the customer heard of it %d times", id, state, heard))
		}
	}
	if err := errors.Join(rows.Err(), w.Flush()); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d orders are paid, and the queue holds %d deliveries, all told.\n", paid, len(page.Items))
	if len(page.Items) != paid || paid != 2 {
		wrong = append(wrong, fmt.Errorf("%d orders are paid and %d deliveries exist, want 2 of each", paid, len(page.Items)))
	}
	return errors.Join(wrong...)
}
