package main

import (
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/seed68722ecd/webhook/verify"
)

// newReceiver is the code that a customer writes: a handler behind the
// middleware of verify, which passes on only requests signed with the secret.
func newReceiver(log *journal, crmSecret, inboxSecret string) (http.Handler, error) {
	crm, err := verify.New(verify.Config{OnError: log.refused}, crmSecret)
	if err != nil {
		return nil, err
	}
	inbox, err := verify.New(verify.Config{OnError: log.refused}, inboxSecret)
	if err != nil {
		return nil, err
	}
	var requests atomic.Int32
	mux := http.NewServeMux()
	mux.Handle("/crm", crm.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.verified(r)
		w.WriteHeader(http.StatusNoContent)
	})))
	mux.Handle("/inbox", inbox.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.verified(r)
		if requests.Add(1) == 1 {
			http.Error(w, "database is starting", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})))
	return mux, nil
}

// summary describes a verified delivery.
func summary(d *verify.Delivery) string {
	event, err := d.Event()
	if err != nil {
		return err.Error()
	}
	switch e := event.(type) {
	case verify.AgentAction:
		return e.Agent.Name + " did " + e.Action
	case verify.AgentMessage:
		return e.Agent.Name + ": " + e.Content
	case verify.UserMessage:
		return e.User.Name + ": " + e.Content
	}
	return strings.TrimSpace(string(d.Data))
}
