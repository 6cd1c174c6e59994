package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed68722ecd/webhook/verify"
)

// screen prints requests as they come in.
type screen struct {
	mu        sync.Mutex
	out       io.Writer
	good, bad int
}

// maxShown is the largest part of a body that is printed, in bytes.
const maxShown = 4096

// verified prints a request that the middleware let through.
func (s *screen) verified(r *http.Request, status int) {
	d, ok := verify.FromContext(r.Context())
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good++
	typ := d.Type
	if typ == "" {
		typ = "(no event type)"
	}
	by := "signature " + string(d.Scheme)
	if d.Scheme == verify.SchemePlain {
		by = "plain signature only, which covers neither ID nor time"
	}
	fmt.Fprintf(s.out, "%s  VERIFIED  %s  %s  attempt %d  (%s), answered %d\n    %s\n", now(), printable(typ), printable(d.ID), d.Attempt, by, status, shown(d.Body))
}

// refused prints a request that the middleware has refused. No part of the
// request can be trusted.
func (s *screen) refused(r *http.Request, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad++
	fmt.Fprintf(s.out, "%s  REFUSED   %s %s from %s, answered %d\n    %s\n", now(), printable(r.Method), printable(r.URL.RequestURI()),
		r.RemoteAddr, verify.StatusCode(err), printable(err.Error()))
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature", "X-Webhook-Signature"} {
		for _, value := range r.Header.Values(name) {
			fmt.Fprintf(s.out, "    %s: %s\n", name, printable(value))
		}
	}
}

func now() string { return time.Now().Format("15:04:05.000") }

// shown returns a body cut to a length that fits a screen.
func shown(body []byte) string {
	if len(body) <= maxShown {
		return printable(string(body))
	}
	return printable(string(body[:maxShown])) + "… (" + strconv.Itoa(len(body)) + " bytes)"
}

// printable replaces characters that control a terminal, such as escape
// sequences in an agent's message.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return b.String()
}
