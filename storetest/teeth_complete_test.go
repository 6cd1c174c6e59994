package storetest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed68722ecd/webhook"
)

// completing changes results before they are recorded.
func completing(change func(res *webhook.Result)) func() *twisted {
	return func() *twisted {
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			results = slices.Clone(results)
			for i := range results {
				if results[i].Attempt != nil {
					results[i].Attempt = new(*results[i].Attempt)
				}
				change(&results[i])
			}
			return s.Complete(ctx, now, results)
		}}
	}
}

// logging changes attempts when they are read.
func logging(change func(as []webhook.Attempt) []webhook.Attempt) func() *twisted {
	return func() *twisted {
		return &twisted{listAttempts: func(ctx context.Context, s webhook.Store, tenant, id string) ([]webhook.Attempt, error) {
			as, err := s.ListAttempts(ctx, tenant, id)
			return change(as), err
		}}
	}
}

// reading changes deliveries when they are read.
func reading(change func(d *webhook.Delivery)) func() *twisted {
	return func() *twisted {
		return &twisted{
			getDelivery: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.Delivery, error) {
				d, err := s.GetDelivery(ctx, tenant, id)
				change(&d)
				return d, err
			},
			listDeliveries: func(ctx context.Context, s webhook.Store, q webhook.DeliveryQuery) (webhook.Page[webhook.Delivery], error) {
				p, err := s.ListDeliveries(ctx, q)
				for i := range p.Items {
					change(&p.Items[i])
				}
				return p, err
			},
		}
	}
}

var brokenResults = []broken{
	{"takes results from anyone", "Fence/LateResultChangesNoState", unfenced},
	{"takes late results after the end", "Fence/LateAfterTheEnd", func() *twisted {
		x, h := noting()
		x.complete = func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			out, err := s.Complete(ctx, now, results)
			for i, res := range results {
				if err == nil && out[i] == webhook.OutcomeLate && res.Token != h.of(res.DeliveryID) {
					if _, resendErr := s.Resend(ctx, now, t1, res.DeliveryID); resendErr != nil {
						return nil, resendErr
					}
				}
			}
			return out, err
		}
		return x
	}},
	{"does not log late results", "Fence/LateResultIsLogged", logging(func(as []webhook.Attempt) []webhook.Attempt {
		return slices.DeleteFunc(as, func(a webhook.Attempt) bool { return a.Late })
	})},
	{"does not mark late results", "Fence/LateResultIsLogged", logging(func(as []webhook.Attempt) []webhook.Attempt {
		for i := range as {
			as[i].Late = false
		}
		return as
	})},
	{"takes a repeated result for late", "Fence/Repeated", func() *twisted {
		var seen sync.Map
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			out, err := s.Complete(ctx, now, results)
			for i := range out {
				if _, again := seen.LoadOrStore(webhook.Lease{DeliveryID: results[i].DeliveryID, Token: results[i].Token}, true); again {
					out[i] = webhook.OutcomeLate
				}
			}
			return out, err
		}}
	}},
	{"logs a repeated result again", "Fence/RepeatedAfterTheNextClaim", func() *twisted {
		var repeated atomic.Int64
		var seen sync.Map
		return &twisted{
			complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
				for _, res := range results {
					if _, again := seen.LoadOrStore(webhook.Lease{DeliveryID: res.DeliveryID, Token: res.Token}, true); again && res.Attempt != nil {
						repeated.Add(1)
					}
				}
				return s.Complete(ctx, now, results)
			},
			listAttempts: func(ctx context.Context, s webhook.Store, tenant, id string) ([]webhook.Attempt, error) {
				as, err := s.ListAttempts(ctx, tenant, id)
				for range repeated.Load() {
					as = append(as, as[len(as)-1])
				}
				return as, err
			},
		}
	}},
	{"forgets at a resend what was recorded", "Fence/RepeatedAfterResend", func() *twisted {
		var resent, seen sync.Map
		return &twisted{
			resend: func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error) {
				resent.Store(id, true)
				return s.Resend(ctx, now, tenant, id)
			},
			complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
				res := results[0]
				_, again := seen.LoadOrStore(webhook.Lease{DeliveryID: res.DeliveryID, Token: res.Token}, true)
				if _, forgotten := resent.Load(res.DeliveryID); !again || !forgotten {
					return s.Complete(ctx, now, results)
				}
				req := webhook.ClaimRequest{Token: token(), Now: now, Lease: lease, Limit: 1, PerWebhook: 1}
				if _, err := s.Claim(ctx, req); err != nil {
					return nil, err
				}
				res.Token = req.Token
				return s.Complete(ctx, now, []webhook.Result{res})
			},
		}
	}},
	{"tells results apart by the tries", "Fence/RepeatedAfterResendAndClaim", func() *twisted {
		x, h := noting()
		var resent, seen sync.Map
		x.resend = func(ctx context.Context, s webhook.Store, now time.Time, tenant, id string) (webhook.Delivery, error) {
			resent.Store(id, true)
			return s.Resend(ctx, now, tenant, id)
		}
		x.complete = func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			results = slices.Clone(results)
			for i := range results {
				res := &results[i]
				_, again := seen.LoadOrStore(webhook.Lease{DeliveryID: res.DeliveryID, Token: res.Token}, true)
				if _, ok := resent.Load(res.DeliveryID); ok && again {
					res.Token = h.of(res.DeliveryID) // as if Tries identified the claim
				}
			}
			return s.Complete(ctx, now, results)
		}
		return x
	}},
	{"takes the result of an expired lease for late", "Fence/ExpiredUnclaimedLeaseHolds", func() *twisted {
		x, h := noting()
		x.complete = func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			results = slices.Clone(results)
			for i := range results {
				if h.expired(results[i].DeliveryID, now) {
					results[i].Token++
				}
			}
			return s.Complete(ctx, now, results)
		}
		return x
	}},
	{"refuses a batch with a delivery that is gone", "Complete/Gone", func() *twisted {
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			out, err := s.Complete(ctx, now, results)
			if slices.Contains(out, webhook.OutcomeGone) {
				return nil, webhook.ErrNotFound
			}
			return out, err
		}}
	}},
	{"stops at the first late result", "Complete/OutcomesAreInOrder", func() *twisted {
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			all := make([]webhook.Outcome, len(results))
			for i := range results {
				out, err := s.Complete(ctx, now, results[i:i+1])
				if err != nil || out[0] == webhook.OutcomeLate {
					return all, err
				}
				all[i] = out[0]
			}
			return all, nil
		}}
	}},
	{"forgets the delay of a retry", "Complete/Retry", completing(func(res *webhook.Result) { res.Delay = time.Second })},
	{"forgets reasons", "Complete/Failed", reading(func(d *webhook.Delivery) { d.Reason = "" })},
	{"keeps finished deliveries due", "Complete/Succeeded", reading(func(d *webhook.Delivery) {
		if d.NextAttemptAt.IsZero() {
			d.NextAttemptAt = d.FinishedAt
		}
	})},
	{"keeps the class of an older attempt", "Complete/LastClassIsOfTheLastAttempt", func() *twisted {
		var failed atomic.Bool
		x := reading(func(d *webhook.Delivery) {
			if failed.Load() {
				d.LastClass = webhook.ClassStatus
			}
		})()
		x.complete = func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			for _, res := range results {
				if res.Attempt != nil && res.Attempt.Class != "" {
					failed.Store(true)
				}
			}
			return s.Complete(ctx, now, results)
		}
		return x
	}},
	{"counts the sender's faults against the webhook", "OurFault/LeavesHealthAlone", blaming(webhook.ClassUnsent, webhook.ClassInternal)},
	{"counts the sender's faults in statistics", "OurFault/LeavesStatisticsAlone", blaming(webhook.ClassInternal)},
	{"counts what was not sent as a try", "OurFault/UnsentUsesUpNoTry", blaming(webhook.ClassUnsent)},
	{"counts nothing that was the sender's fault as a try", "OurFault/OthersUseUpATry", completing(func(res *webhook.Result) {
		if res.Attempt != nil && res.Attempt.Class == webhook.ClassInternal {
			res.Attempt.Class = webhook.ClassUnsent
		}
	})},
	{"does not log the sender's faults", "OurFault/IsLogged", logging(func(as []webhook.Attempt) []webhook.Attempt {
		return slices.DeleteFunc(as, func(a webhook.Attempt) bool { return a.Class.OurFault() })
	})},
	{"keeps answers as text", "Attempt/ResponseBodyIsBytes", completing(func(res *webhook.Result) {
		if res.Attempt != nil {
			res.Attempt.ResponseBody = bytes.ToValidUTF8(res.Attempt.ResponseBody, []byte("\ufffd"))
		}
	})},
	{"keeps no headers of answers", "Attempt/EveryFieldComesBack", completing(func(res *webhook.Result) {
		if res.Attempt != nil {
			res.Attempt.ResponseHeaders = nil
		}
	})},
	{"keeps durations in milliseconds", "Attempt/EveryFieldComesBack", completing(func(res *webhook.Result) {
		if res.Attempt != nil {
			res.Attempt.Duration = res.Attempt.Duration.Truncate(time.Millisecond)
		}
	})},
	{"lists attempts by their time", "Attempt/InOrderRecorded", logging(func(as []webhook.Attempt) []webhook.Attempt {
		slices.SortStableFunc(as, func(a, b webhook.Attempt) int { return a.StartedAt.Compare(b.StartedAt) })
		return as
	})},
	{"knows only the last attempt", "Attempt/StayAfterResend", logging(func(as []webhook.Attempt) []webhook.Attempt {
		return as[max(0, len(as)-1):]
	})},
	{"loses a result now and then", "Stress/EveryDeliverySucceedsOnce", func() *twisted {
		var mu sync.Mutex
		var lost webhook.Lease // lost again when it is repeated
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			lose := 0
			if len(results) > 5 && results[0].State == webhook.StateSucceeded {
				first := webhook.Lease{DeliveryID: results[0].DeliveryID, Token: results[0].Token}
				mu.Lock()
				if lost == (webhook.Lease{}) {
					lost = first
				}
				if lost == first {
					lose = 1
				}
				mu.Unlock()
			}
			out, err := s.Complete(ctx, now, results[lose:])
			return append(make([]webhook.Outcome, lose), out...), err
		}}
	}},
}

// blaming records the sender's own faults as if they were the receiver's.
func blaming(classes ...webhook.ErrorClass) func() *twisted {
	return completing(func(res *webhook.Result) {
		if res.Attempt != nil && slices.Contains(classes, res.Attempt.Class) {
			res.Attempt.Class = webhook.ClassConnect
		}
	})
}

// unfenced completes a delivery under any token.
func unfenced() *twisted {
	x, h := noting()
	x.complete = func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
		results = slices.Clone(results)
		for i := range results {
			if held := h.of(results[i].DeliveryID); held != 0 {
				results[i].Token = held
			}
		}
		return s.Complete(ctx, now, results)
	}
	return x
}
