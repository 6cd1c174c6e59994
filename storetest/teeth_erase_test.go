package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed68722ecd/webhook"
)

func (x *twisted) EraseTenant(ctx context.Context, tenant string, limit int) (webhook.Erased, error) {
	s, ok := x.Store.(webhook.EraseStore)
	if !ok {
		return webhook.Erased{}, errors.ErrUnsupported
	}
	if x.eraseTenant != nil {
		return x.eraseTenant(ctx, s, tenant, limit)
	}
	return s.EraseTenant(ctx, tenant, limit)
}

func (x *twisted) EraseEvent(ctx context.Context, tenant, id string, limit int) (webhook.Erased, error) {
	s, ok := x.Store.(webhook.EraseStore)
	if !ok {
		return webhook.Erased{}, errors.ErrUnsupported
	}
	if x.eraseEvent != nil {
		return x.eraseEvent(ctx, s, tenant, id, limit)
	}
	return s.EraseEvent(ctx, tenant, id, limit)
}

func (x *twisted) EraseOld(ctx context.Context, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
	s, ok := x.Store.(webhook.EraseStore)
	if !ok {
		return webhook.EraseOldResult{}, errors.ErrUnsupported
	}
	if x.eraseOld != nil {
		return x.eraseOld(ctx, s, req)
	}
	return s.EraseOld(ctx, req)
}

func erasingOld(f func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error)) func() *twisted {
	return func() *twisted { return &twisted{eraseOld: f} }
}

func erasingTenant(f func(ctx context.Context, s webhook.EraseStore, tenant string, limit int) (webhook.Erased, error)) func() *twisted {
	return func() *twisted { return &twisted{eraseTenant: f} }
}

func erasingEvent(f func(ctx context.Context, s webhook.EraseStore, tenant, id string, limit int) (webhook.Erased, error)) func() *twisted {
	return func() *twisted { return &twisted{eraseEvent: f} }
}

// remembering is a Store whose answers still show erased data.
func remembering() *twisted {
	kept := map[string]webhook.EventRecord{}
	return &twisted{
		getEvent: func(ctx context.Context, s webhook.Store, tenant, id string) (webhook.EventRecord, error) {
			ev, err := s.GetEvent(ctx, tenant, id)
			if old, ok := kept[tenant+" "+id]; ok && err != nil {
				return old, nil
			}
			return ev, err
		},
		eraseTenant: func(ctx context.Context, s webhook.EraseStore, tenant string, limit int) (webhook.Erased, error) {
			store := s.(webhook.Store)
			for _, id := range []string{"s1", "nobody"} {
				if ev, err := store.GetEvent(ctx, tenant, id); err == nil {
					kept[tenant+" "+id] = ev
				}
			}
			return s.EraseTenant(ctx, tenant, limit)
		},
	}
}

var brokenErasers = []broken{
	{"takes a prefix for any beginning", "Erase/OldByType", erasingOld(func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
		for _, p := range req.Types {
			if p == "a.*" {
				req.Types = append(slices.Clone(req.Types), "ab")
			}
		}
		return s.EraseOld(ctx, req)
	})},
	{"takes no notice of exceptions", "Erase/OldByType", erasingOld(func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
		req.Except = nil
		return s.EraseOld(ctx, req)
	})},
	{"deletes what is young", "Erase/OldByType", erasingOld(func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
		req.Before = req.Before.Add(24 * time.Hour)
		return s.EraseOld(ctx, req)
	})},
	{"deletes what waits", "Erase/OldButNotFinished", erasingOld(func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
		res, err := s.EraseOld(ctx, req)
		if done, e := s.EraseEvent(ctx, t1, "p1", 100); e == nil {
			res.Events, res.Deliveries = res.Events+done.Events, res.Deliveries+done.Deliveries
		}
		return res, err
	})},
	{"begins anew in every step", "Erase/OldFinishedLate", erasingOld(func(ctx context.Context, s webhook.EraseStore, req webhook.EraseOldRequest) (webhook.EraseOldResult, error) {
		req.Before = req.Before.Add(time.Hour)
		return s.EraseOld(ctx, req)
	})},
	{"deletes the webhooks only", "Erase/Tenant", erasingTenant(func(ctx context.Context, s webhook.EraseStore, tenant string, limit int) (webhook.Erased, error) {
		store := s.(webhook.Store)
		p, err := store.ListWebhooks(ctx, webhook.WebhookQuery{Tenant: tenant, Limit: limit})
		for _, w := range p.Items {
			err = errors.Join(err, store.DeleteWebhook(ctx, tenant, w.ID))
		}
		return webhook.Erased{Webhooks: len(p.Items)}, err
	})},
	{"keeps events in its cache", "Erase/Tenant", remembering},
	{"says it is done after one step", "Erase/Steps", erasingTenant(func(ctx context.Context, s webhook.EraseStore, tenant string, limit int) (webhook.Erased, error) {
		done, err := s.EraseTenant(ctx, tenant, limit)
		done.More = false
		return done, err
	})},
	{"takes no notice of the limit", "Erase/Steps", erasingTenant(func(ctx context.Context, s webhook.EraseStore, tenant string, _ int) (webhook.Erased, error) {
		return s.EraseTenant(ctx, tenant, 1000)
	})},
	{"erases an event of whatever tenant", "Erase/OthersStay", erasingEvent(func(ctx context.Context, s webhook.EraseStore, tenant, id string, limit int) (webhook.Erased, error) {
		done, err := s.EraseEvent(ctx, tenant, id, limit)
		if err != nil {
			return s.EraseEvent(ctx, t2, id, limit)
		}
		return done, nil
	})},
	{"says nothing of an event that is not there", "Erase/Event", erasingEvent(func(ctx context.Context, s webhook.EraseStore, tenant, id string, limit int) (webhook.Erased, error) {
		done, err := s.EraseEvent(ctx, tenant, id, limit)
		if errors.Is(err, webhook.ErrNotFound) {
			err = nil
		}
		return done, err
	})},
	{"leaves an event that waits", "Erase/Event", erasingEvent(func(ctx context.Context, s webhook.EraseStore, tenant, id string, limit int) (webhook.Erased, error) {
		store := s.(webhook.Store)
		p, err := store.ListDeliveries(ctx, webhook.DeliveryQuery{Tenant: tenant, EventID: id, State: webhook.StatePending})
		if err != nil || len(p.Items) > 0 {
			return webhook.Erased{Events: 1, Deliveries: len(p.Items)}, err
		}
		return s.EraseEvent(ctx, tenant, id, limit)
	})},
	{"takes a late result for one that it had", "Erase/ResultsFindNothing", func() *twisted {
		return &twisted{complete: func(ctx context.Context, s webhook.Store, now time.Time, results []webhook.Result) ([]webhook.Outcome, error) {
			out, err := s.Complete(ctx, now, results)
			for i := range out {
				if out[i] == webhook.OutcomeGone {
					out[i] = webhook.OutcomeLate
				}
			}
			return out, err
		}}
	}},
}
