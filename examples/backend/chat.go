package main

import (
	"bufio"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// The agent of this platform and its only room.
var (
	ada  = webhook.Ref{ID: "agent_ada", Name: "Ada"}
	bob  = webhook.Ref{ID: "user_bob", Name: "Bob"}
	room = webhook.Ref{ID: "r7Kq2", Name: "Support"}
)

// said is one round of the conversation, with its published events.
type said struct {
	Message string      `json:"message"`
	Reply   string      `json:"reply"`
	Events  []published `json:"events"`
}

type published struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Deliveries int    `json:"deliveries"`
}

// chat plays the agent: a user writes a message, the agent acts, and answers.
// Each of the three is published as an event. chat takes {"message":"…"}, or a
// form as the page sends it.
func (b *backend) chat(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Message string `json:"message"`
	}
	// Judge the body by its content and not by its Content-Type: curl -d sends
	// all bodies as forms.
	body := bufio.NewReader(r.Body)
	first, _ := body.Peek(1)
	r.Body = io.NopCloser(body)
	form := string(first) == "m" // message=…
	if form {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		in.Message = r.PostFormValue("message")
	} else if !readJSON(w, r, &in) {
		return
	}
	if in.Message = strings.TrimSpace(in.Message); in.Message == "" {
		in.Message = "Hello?"
	}
	talk := said{Message: in.Message, Reply: reply(in.Message)}
	tenant := tenantOf(r)
	// One atomic step, so that an answer is never published without its
	// question.
	events := []webhook.Event{
		{Tenant: tenant, Data: webhook.UserMessage{Agent: ada, User: bob, Room: room, Content: in.Message}},
		{Tenant: tenant, Data: webhook.AgentAction{Agent: ada, Room: room.ID, Action: "WARP_EXECUTE", Content: `{"tool":"orders.find","status":"done"}`}},
		{Tenant: tenant, Data: webhook.AgentMessage{Agent: ada, Room: room.ID, Content: talk.Reply}},
	}
	out, err := b.d.PublishAll(r.Context(), events)
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	for i, p := range out {
		talk.Events = append(talk.Events, published{p.ID, events[i].Data.(webhook.Typed).EventType(), p.Deliveries}) // all three are Typed
	}
	if form {
		b.page(w, r, &talk)
		return
	}
	writeJSON(w, http.StatusOK, talk)
}

// reply returns the agent's answer.
func reply(message string) string {
	switch m := strings.ToLower(message); {
	case strings.Contains(m, "order"):
		return "I looked it up: your order arrives tomorrow."
	case strings.HasSuffix(m, "?"):
		return "Good question. I have passed it on."
	}
	return fmt.Sprintf("I see. You said %d words.", len(strings.Fields(message)))
}

// home serves the page of the chat.
func (b *backend) home(w http.ResponseWriter, r *http.Request) { b.page(w, r, nil) }

func (b *backend) page(w http.ResponseWriter, r *http.Request, talk *said) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_ = homePage.Execute(w, map[string]any{"Tenant": tenantOf(r), "Talk": talk}) // an error means that the client has gone
}

var homePage = template.Must(template.New("home").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Backend</title>
<h1>A backend with webhooks</h1>
<p>You are tenant <b>{{.Tenant}}</b>. <a href="/webhooks/">Manage your webhooks</a>, then talk to the agent: everything that is said and done is sent to them.
<form method="post" action="/chat"><label>You are Bob. Say something to Ada: <input name="message" value="Where is my order?" size="40" autofocus></label> <button>Say it</button></form>
{{with .Talk}}<p>Bob: {{.Message}}<p>Ada: {{.Reply}}
<table><caption>Published</caption><tr><th scope="col">Event<th scope="col">ID<th scope="col">To webhooks
{{range .Events}}<tr><td>{{.Type}}<td><code>{{.ID}}</code><td>{{.Deliveries}}
{{end}}</table>{{end}}
</html>
`))
