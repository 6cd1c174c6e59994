package webhook

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/seed68722ecd/webhook/internal/contain"
	"github.com/seed68722ecd/webhook/internal/lanes"
	"github.com/seed68722ecd/webhook/internal/post"
)

// startWorkers starts up to n workers, and no more than lanes are in line: each
// starts another as it begins. Caller holds mu.
func (e *engine) startWorkers(n int) {
	for n = min(n, e.sched.Ready()); n > 0 && e.running < e.cfg.MaxInFlight; n-- {
		e.running++
		e.workers.Go(e.work)
	}
}

// work makes attempts for as long as there is one to begin.
func (e *engine) work() {
	e.mu.Lock()
	for {
		now := thisMoment()
		j, ok := e.sched.Next(now.mono).(*job)
		if !ok {
			e.running--
			e.mu.Unlock()
			return
		}
		// Whoever takes one sees to it that the next is taken, so that no worker
		// is started for nothing.
		e.startWorkers(1)
		began := now.mono
		unsure := !j.lost && began.Before(j.expires.mono) && j.expires.until(now) <= 0
		if unsure {
			e.mu.Unlock()
			unsure = !e.confirm(j)
			e.mu.Lock()
			began = time.Now()
		}
		if j.lost || unsure || !began.Before(j.expires.mono) {
			// Someone else has it by now, or may have.
			e.sched.Landed(j, lanes.LandedUnused, began, time.Now())
			e.release(j)
			continue
		}
		j.began = began
		e.mu.Unlock()

		how := e.deliver(j)

		e.mu.Lock()
		e.sched.Landed(j, how, began, time.Now())
	}
}

// deliver makes one attempt and hands the result on. It reports how the endpoint
// did.
func (e *engine) deliver(j *job) lanes.Landing {
	t := e.freshTarget(j.endpoint)
	switch {
	case t.rec == nil:
		j.end(StateCanceled, ReasonWebhookDeleted)
	case !t.rec.Active:
		j.end(StateCanceled, ReasonWebhookDisabled)
	case t.sealed != nil && t.unreadable(e.d.now()) != nil:
		e.putOff(j, t.unreadable(e.d.now()))
		return lanes.LandedUnused
	default:
		if e.cfg.Observer.Attempt != nil {
			j.seen = e.observeAttempt(j)
		}
		after, err := contain.Call("an attempt", func() (post.Answer, error) { return e.attempt(j, t) })
		if err != nil {
			e.d.logContained(err)
			j.attempt = Attempt{
				DeliveryID: j.Delivery.ID,
				Number:     j.Delivery.Attempts + 1,
				StartedAt:  orDefault(j.attempt.StartedAt, e.d.now()),
				Class:      ClassInternal,
				Error:      "the sender failed: " + internalText(err),
			}
		}
		e.ended(j, after.Aborted)
		if after.Aborted {
			e.mu.Lock()
			j.aborted = true
			e.mu.Unlock()
			return lanes.LandedUnused
		}
		if after.Fault != nil {
			e.putOffUnsent(j, after.Fault)
			return lanes.LandedUnused
		}
		e.decide(j, t, &after)
	}
	if j.result.Attempt == nil {
		e.mu.Lock()
		j.untold = true
		e.mu.Unlock()
	}
	e.results.add(j)
	switch {
	case j.result.Attempt == nil || j.attempt.Class == ClassInternal:
		return lanes.LandedUnused // nothing was sent
	case j.attempt.Class == "" || j.attempt.Status == http.StatusGone:
		return lanes.LandedWell
	}
	return lanes.LandedBadly
}

// internalText says what failed on this side without the text of a panic,
// which may hold anything.
func internalText(err error) string {
	if _, ok := errors.AsType[*contain.PanicError](err); ok {
		return "it panicked; see its log"
	}
	return err.Error()
}

// errSign marks a signer's failure, whose text may be shown.
var errSign = errors.New("signing failed")

// outgoing is a request with the values of the library's own headers, in one
// piece of memory.
type outgoing struct {
	post.Request
	values [8]string
}

// seconds is a point in time in the text of webhook-timestamp.
type seconds struct {
	unix int64
	text string
}

// stamp returns unix seconds as text, which many attempts share.
func (e *engine) stamp(unix int64) string {
	s := e.second.Load()
	if s == nil || s.unix != unix {
		s = &seconds{unix, strconv.FormatInt(unix, 10)}
		e.second.Store(s)
	}
	return s.text
}

// attempt makes the request.
func (e *engine) attempt(j *job, t *target) (post.Answer, error) {
	if t.err != nil {
		return post.Answer{}, t.err
	}
	started := e.d.now()
	j.attempt.StartedAt, j.url = started, t.rec.URL
	number := j.Delivery.Attempts + 1
	body := Body(*j.Event, j.Delivery)

	o := &outgoing{values: [8]string{
		"application/json", e.cfg.UserAgent, j.Event.ID, e.stamp(started.Unix()), j.Event.Type, strconv.Itoa(number),
	}}
	h := make(http.Header, len(t.header)+len(o.values))
	for name, v := range t.header {
		h[name] = v
	}
	v := o.values[:]
	h["Content-Type"] = v[0:1:1]
	h["User-Agent"] = v[1:2:2]
	h[headerWebhookID] = v[2:3:3]
	h[headerWebhookTimestamp] = v[3:4:4]
	h[headerEvent] = v[4:5:5]
	h[headerAttempt] = v[5:6:6]
	if j.seen != nil {
		j.seen.traceHeaders(h)
	}
	if err := e.sign(o, h, Message{ID: j.Event.ID, Time: started, Body: body}, t.secretsAt(started)); err != nil {
		e.d.log.Error("webhook: a delivery could not be signed, and nothing is sent unsigned", "delivery", j.Delivery.ID, "error", err)
		return post.Answer{}, errSign
	}

	o.Request = post.Request{URL: t.url, Header: h, Body: body, Timeout: t.rec.Timeout, VerifyTLS: t.rec.VerifyTLS}
	a := e.d.send.Do(e.attemptCtx, &o.Request)
	j.attempt = Attempt{
		DeliveryID: j.Delivery.ID, Number: number, StartedAt: started, Duration: a.Duration,
		Status: a.Status, Class: ErrorClass(a.Class), Error: a.Error,
		ResponseHeaders: a.ResponseHeaders, ResponseBody: a.ResponseBody, ResponseTruncated: a.ResponseTruncated,
	}
	return a, nil
}

// errUnsigned is a signer of the host's that does nothing.
var errUnsigned = errors.New("the signer added no header")

// sign adds the signatures to the headers of a request. Those of the wire
// format have their place beside the other values.
func (e *engine) sign(o *outgoing, h http.Header, m Message, secrets []Secret) (err error) {
	if _, ok := e.cfg.Signer.(wireSigner); ok {
		v := o.values[:]
		if v[6], v[7], err = m.wireSignatures(secrets); err != nil {
			return err
		}
		h[headerSignature] = v[6:7:7]
		h[headerWebhookSignature] = v[7:8:8]
		return nil
	}
	unsigned := len(h)
	if err = e.cfg.Signer.Sign(h, m, secrets); err == nil && len(h) == unsigned {
		err = errUnsigned
	}
	return err
}

// decide turns an attempt into the delivery's next state.
func (e *engine) decide(j *job, t *target, answer *post.Answer) {
	a := &j.attempt
	j.result = Result{Attempt: a}
	try := j.Delivery.Tries + 1
	switch {
	case a.Class == "":
		j.result.State = StateSucceeded
	case a.Status == http.StatusGone:
		j.result.State, j.result.Reason = StateFailed, ReasonGone
	case try > t.rec.MaxRetries:
		j.result.State, j.result.Reason = StateFailed, ReasonRetriesExhausted
	default:
		j.result.State = StatePending
		j.result.Delay = e.retryDelay(try, answer)
	}
}

// retryDelay asks the policy, and the receiver where it has a say.
func (e *engine) retryDelay(try int, answer *post.Answer) time.Duration {
	own, err := contain.Call("the retry policy", func() (time.Duration, error) { return max(e.cfg.Retry.Delay(try), 0), nil })
	if err != nil {
		e.d.logContained(err)
		own = ExponentialRetry{}.Delay(try)
	}
	if e.cfg.MaxRetryAfter > 0 {
		if asked, ok := answer.RetryAfter(e.cfg.Now()); ok {
			return obeyRetryAfter(own, asked, e.cfg.MaxRetryAfter)
		}
	}
	return own
}

// end decides a delivery without an attempt.
func (j *job) end(s State, r Reason) {
	j.result = Result{State: s, Reason: r}
}

// freshTarget returns the webhook as it is now, or was a moment ago.
func (e *engine) freshTarget(p *endpoint) *target {
	e.mu.Lock()
	t, read := p.target, p.read
	e.mu.Unlock()
	if time.Since(read) > staleAfter && t.rec != nil {
		tenant := t.rec.Tenant
		_, err, _ := e.d.refresh.Do(p.id, func() (any, error) {
			now := time.Now()
			rec, err := timed(e.attemptCtx, e.d, "GetWebhook", e.d.soon(), func(ctx context.Context) (WebhookRecord, error) {
				return e.d.store.GetWebhook(ctx, tenant, p.id)
			})
			e.mu.Lock()
			defer e.mu.Unlock()
			switch {
			case errors.Is(err, ErrNotFound):
				e.adopt(p, nil, now)
			case err == nil:
				e.adopt(p, &rec, now)
			default:
				return nil, err
			}
			return nil, nil
		})
		if err != nil {
			if muted, ok := e.unread.Pass(); ok {
				e.d.log.Warn("webhook: settings could not be read again, using those of a moment ago",
					"webhook", p.id, "error", err, "alike_not_logged", muted)
			}
		}
		e.mu.Lock()
		t = p.target
		e.mu.Unlock()
	}
	t.once.Do(func() { t.prepare(&e.d.rules) })
	return t
}
