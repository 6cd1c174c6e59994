package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// bareLoops is the number of goroutines of the bare loop.
const bareLoops = 64

// bareKey signs requests that are sent without the library.
var bareKey = []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

// newBareClient returns the client of the bare loop and of River's workers.
func newBareClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns:        2048,
		MaxIdleConnsPerHost: 2048,
		DisableCompression:  true,
		Protocols:           protocols,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the sink's certificate is its own
	}}
}

// post signs a body and sends it, the work that every measured program does.
func post(ctx context.Context, client *http.Client, url, id string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, bareKey)
	mac.Write(body)
	req.Header["Content-Type"] = []string{"application/json"}
	req.Header["Webhook-Id"] = []string{id}
	req.Header["X-Webhook-Signature"] = []string{hex.EncodeToString(mac.Sum(nil))}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the sink answered %d", resp.StatusCode)
	}
	return nil
}

// bare measures the bare loop, which signs and posts without a store.
func (e *env) bare(ctx context.Context, size, endpoints int, secure bool) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	client := newBareClient()
	defer client.CloseIdleConnections()
	body := bytes.Repeat([]byte("x"), size)
	urls := make([]string, endpoints)
	for i := range urls {
		urls[i] = e.sink.url("ok", i, secure)
	}
	var posted, turn atomic.Int64
	var loops sync.WaitGroup
	failed := make(chan error, bareLoops)
	for range bareLoops {
		loops.Go(func() {
			for ctx.Err() == nil {
				n := turn.Add(1)
				if err := post(ctx, client, urls[int(n)%len(urls)], "bare", body); err != nil {
					if ctx.Err() == nil {
						failed <- err
					}
					return
				}
				posted.Add(1)
			}
		})
	}
	err := pause(ctx, e.opt.window/6) // connections are established meanwhile
	s, werr := e.watch(ctx, "bare", func() (int64, error) { return posted.Load(), nil })
	cancel()
	loops.Wait()
	select {
	case failure := <-failed:
		return s, failure
	default:
		return s, errors.Join(err, werr)
	}
}

// barePaced posts at a fixed rate, without waiting for earlier posts to end.
// The sink measures the latencies.
func (e *env) barePaced(ctx context.Context, rate int, window time.Duration) error {
	client := newBareClient()
	defer client.CloseIdleConnections()
	body := bytes.Repeat([]byte("x"), smallBody)
	url := e.sink.url("ok", 0, false)
	return paced(ctx, rate, window, func(n int64) error {
		return post(ctx, client, url, stampedID(n), body)
	})
}

// paced calls f at a fixed rate, each call in a goroutine of its own, and
// returns when all have ended, with the first error.
func paced(ctx context.Context, rate int, window time.Duration, f func(n int64) error) error {
	var calls sync.WaitGroup
	var first error
	var once sync.Once
	began := time.Now()
	for n := range int64(window.Seconds() * float64(rate)) {
		if err := pause(ctx, time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(rate)))); err != nil {
			return err
		}
		calls.Go(func() {
			if err := f(n); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	calls.Wait()
	return first
}
