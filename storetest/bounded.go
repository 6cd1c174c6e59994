package storetest

import (
	"time"

	"github.com/seed68722ecd/webhook"
)

// boundedCapacity is how many pending deliveries a Store of RunBounded takes.
const boundedCapacity = 10

const saysFull = "A bounded Store that is full returns an error wrapping ErrBacklogFull and does not store any of the events."

var boundedChecks = []check{
	{"FullStoresNone", saysFull, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", boundedCapacity-2)...)
		_, err := r.store.Publish(r.Context(), r.now, r.requests(t1, "more", "a.b", 5))
		r.wantErr("Publish of 5 events with room for 2", err, webhook.ErrBacklogFull)
		for i := range 5 {
			r.same("more"+itoa(i)+" is gone", true, r.gone("more"+itoa(i)))
		}
		r.same("deliveries", boundedCapacity-2, len(r.deliveries(webhook.DeliveryQuery{Tenant: t1})))
		r.publish(r.requests(t1, "fits", "a.b", 2)...)
	}},
	{"FanOutIsAllOrNone", saysFull, func(r *run) {
		for i := range boundedCapacity + 1 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		_, err := r.store.Publish(r.Context(), r.now, r.requests(t1, "e", "a.b", 1))
		r.wantErr("Publish to more webhooks than there is room for", err, webhook.ErrBacklogFull)
		r.same("e0 is gone", true, r.gone("e0"))
		r.claimNone("nothing was stored")
	}},
	{"RoomComesBack", "a bounded Store takes no more deliveries until some have ended. No event was stored; publish again later.", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", boundedCapacity)...)
		_, err := r.store.Publish(r.Context(), r.now, r.requests(t1, "more", "a.b", 1))
		r.wantErr("Publish to a full Store", err, webhook.ErrBacklogFull)
		ds, tok := r.claimN(1)
		r.finish(r.success(ds[0].Delivery, tok))
		r.pass(time.Second)
		r.same("result once there is room", 1, r.publish(r.requests(t1, "more", "a.b", 1)...)[0].Deliveries)
	}},
	{"DuplicateNeedsNoRoom", "An event whose (Tenant, ID) exists already is not stored again and creates no delivery", func(r *run) {
		r.create(t1, "wh_1", nil)
		reqs := r.requests(t1, "e", "a.b", boundedCapacity)
		r.publish(reqs...)
		r.same("result of a duplicate", webhook.PublishResult{Duplicate: true}, r.publish(reqs[0])[0])
	}},
}
