package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

// deliver plays the sender: it posts testBody to h, signed with the secret.
func deliver(h http.Handler, secret string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(testBody, signedHeader(testBody, time.Now(), secret)))
	return w.Code
}

// A handler that checks a request by itself.
func ExampleRequest() {
	logger := slog.New(slog.DiscardHandler) // your own logger
	secret := testSecret                    // from the environment or a vault
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := verify.Request(r, secret)
		if err != nil {
			logger.Warn("refused", "error", err)
			w.WriteHeader(verify.StatusCode(err))
			return
		}
		fmt.Println(d.Type, d.ID, "attempt", d.Attempt)
	})
	fmt.Println(deliver(h, testSecret))
	fmt.Println(deliver(h, "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgMzIgYnl0ZXM="))
	// Output:
	// agent.message msg_1 attempt 2
	// 200
	// 401
}

// Every request that reaches the handler has been verified.
func ExampleMiddleware() {
	secret := testSecret // from the environment or a vault
	hook, err := verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := verify.FromContext(r.Context())
		fmt.Println(d.Type, "for", d.Webhook.Name)
	}), secret)
	if err != nil {
		panic(err) // an unset variable stops the program instead of disabling the check
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks", hook)

	fmt.Println(deliver(hook, testSecret))
	fmt.Println(deliver(hook, "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgMzIgYnl0ZXM="))
	// Output:
	// agent.message for My hook
	// 200
	// 401
}

// Frameworks with a request type of their own provide the body and the headers.
// If they keep one value per header, put each into a slice.
func ExampleVerify() {
	now := fmt.Sprint(time.Now().Unix())
	event := struct { // as AWS Lambda passes it
		Body    string
		Headers map[string]string
	}{testBody, map[string]string{
		"webhook-id":        testID,
		"webhook-timestamp": now,
		"webhook-signature": signV1(testSecret, testID, now, testBody),
	}}

	header := map[string][]string{}
	for name, value := range event.Headers {
		header[name] = []string{value}
	}
	d, err := verify.Verify([]byte(event.Body), header, testSecret)
	fmt.Println(d.Type, err)

	_, err = verify.Verify([]byte(event.Body+" "), header, testSecret)
	fmt.Println(errors.Is(err, verify.ErrSignatureMismatch), verify.StatusCode(err))
	// Output:
	// agent.message <nil>
	// true 401
}

// During a rotation give both secrets, in any order.
func ExampleRequest_rotation() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := verify.Request(r, testSecret, oldSecret); err != nil {
			w.WriteHeader(verify.StatusCode(err))
		}
	})
	fmt.Println(deliver(h, oldSecret), deliver(h, testSecret))
	// Output:
	// 200 200
}

// The sender tries again when it has not got the answer. With Seen the handler
// does not run again for a delivery that it has handled, and does run again for
// a delivery that it has not.
func ExampleVerifier_Middleware_deduplicate() {
	v, err := verify.New(verify.Config{
		Seen:    verify.NewMemorySeen(10_000, 72*time.Hour),
		OnError: func(_ *http.Request, err error) { fmt.Println(err) },
	}, testSecret)
	if err != nil {
		panic(err)
	}
	databaseUp := false
	hook := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !databaseUp {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		d, _ := verify.FromContext(r.Context())
		fmt.Println("handled", d.DedupKey())
	}))

	fmt.Println(deliver(hook, testSecret))
	databaseUp = true
	fmt.Println(deliver(hook, testSecret))
	fmt.Println(deliver(hook, testSecret))
	// Output:
	// 503
	// handled wh_1.msg_1
	// 200
	// verify: delivery was handled before
	// 200
}

// The data of the built-in event types comes as Go values.
func ExampleDelivery_Event() {
	d, err := verify.Verify([]byte(testBody), signedHeader(testBody, time.Now(), testSecret), testSecret)
	if err != nil {
		panic(err)
	}
	event, err := d.Event()
	if err != nil {
		panic(err)
	}
	switch e := event.(type) {
	case verify.AgentMessage:
		fmt.Println(e.Agent.Name, "wrote", e.Content)
	case verify.UserMessage:
		fmt.Println(e.User.Name, "wrote", e.Content)
	case verify.AgentAction:
		fmt.Println(e.Agent.Name, "did", e.Action)
	case json.RawMessage:
		fmt.Println("an event type of the sender's own:", d.Type)
	}
	// Output:
	// Ada wrote hello
}

// A receiver that accepts the plain signature is not protected against replays
// of old requests.
func ExampleNew_plainSignature() {
	v, err := verify.New(verify.Config{AllowPlain: true}, testSecret)
	if err != nil {
		panic(err)
	}
	d, err := v.Verify([]byte(testBody), http.Header{
		"X-Webhook-Signature": {signPlain(testSecret, testBody)},
	})
	fmt.Println(d.Scheme, d.SentAt.IsZero(), err)
	// Output:
	// plain true <nil>
}
