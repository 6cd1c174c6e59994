package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysNewest = "newest first (by creation time, then ID, both descending)"
	saysCursor = "every webhook that existed throughout the walk is returned exactly once"
	saysShort  = "a page may come back short, or even empty, with Next set, and the caller goes on with the cursor."
	saysLooked = "Reached then says how far back the call has read."
	saysLeft   = "Matching deliveries beyond that point are on later pages."
	saysWhole  = "every page but the last is full, however many webhooks the tenant has."
	saysIssued = "For a cursor that this Store did not issue it returns an error wrapping ErrCursor."
)

// garbage holds cursors that no Store issues.
var garbage = []string{
	"garbage", "0", "1", "-1", "AAAA", "%", "' OR 1=1 --", "null", "{}", "e30=", "\U0001F600", " ",
	"2026-03-04T10:15:30Z", strings.Repeat("A", 10_000),
}

// walkWebhooks reads all pages of a list, and calls between after each.
func (r *run) walkWebhooks(q webhook.WebhookQuery, between func(seen []string)) []string {
	r.Helper()
	var ids []string
	for pages := 0; ; pages++ {
		p, err := r.store.ListWebhooks(r.Context(), q)
		r.must("ListWebhooks", err)
		if q.Limit > 0 && len(p.Items) > q.Limit {
			r.fatalf("a page has %d webhooks, Limit is %d", len(p.Items), q.Limit)
		}
		for _, w := range p.Items {
			ids = append(ids, w.ID)
		}
		if p.Next == "" {
			return ids
		}
		if pages > 500 {
			r.fatalf("the walk does not end")
		}
		q.Cursor = p.Next
		if between != nil {
			between(ids)
		}
	}
}

// twelve creates twelve webhooks, three with each creation time, and returns
// their IDs in the order of a list.
func (r *run) twelve() []string {
	r.Helper()
	var ids []string
	for _, id := range strings.Split("wh_c wh_a wh_b wh_l wh_k wh_j wh_d wh_e wh_f wh_i wh_h wh_g", " ") {
		r.create(t1, id, nil)
		ids = append(ids, id)
		if len(ids)%3 == 0 {
			slices.Sort(ids[len(ids)-3:])
			r.pass(time.Microsecond)
		}
	}
	slices.Reverse(ids)
	return ids
}

var listWebhookChecks = []check{
	{"NewestFirst", saysNewest, func(r *run) {
		want := r.twelve()
		for _, limit := range []int{0, 1, 2, 3, 4, 5, 11, 12, 13, 500} {
			r.same("IDs in pages of "+itoa(limit), want, r.walkWebhooks(webhook.WebhookQuery{Tenant: t1, Limit: limit}, nil))
		}
	}},
	{"ItemsAreWhole", "ListWebhooks returns the tenant's webhooks", func(r *run) {
		w1 := r.create(t1, "wh_1", func(w *webhook.WebhookRecord) {
			w.Active, w.DisabledReason, w.DisabledAt = false, "why", r.now
			w.Events = []string{"b.c", "a.*"}
		})
		r.pass(time.Second)
		w2 := r.create(t1, "wh_2", nil)
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		r.same("items", []webhook.Webhook{w2.Webhook, w1.Webhook}, p.Items)
		r.same("Next of the only page", "", p.Next)
	}},
	{"DefaultLimit", "items per page, 1–500; 0 means 50", func(r *run) {
		for i := range 55 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		r.same("items", 50, len(p.Items))
		if p.Next == "" {
			r.brokenf("no cursor although there is another page")
		}
	}},
	{"NoWebhooks", "A tenant without webhooks has an empty page, not an error.", func(r *run) {
		r.create(t2, "wh_1", nil)
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1})
		r.must("ListWebhooks", err)
		if len(p.Items) != 0 || p.Next != "" {
			r.brokenf("got %+v, want an empty page", p)
		}
	}},
	{"Search", "substring of name or URL, ASCII case ignored; empty selects all", func(r *run) {
		for id, f := range map[string][2]string{
			"wh_1": {"Billing Team", "https://example.com/one"},
			"wh_2": {"other", "https://billing.example.com/two"},
			"wh_3": {"100% done", "https://example.com/a_b"},
			"wh_4": {"100 done", "https://example.com/axb"},
			"wh_5": {`back\slash`, "https://example.com/[x]*?"},
			"wh_6": {"\u00c9cole", "https://example.com/six"},
		} {
			r.create(t1, id, func(w *webhook.WebhookRecord) { w.Name, w.URL = f[0], f[1] })
		}
		for search, want := range map[string]string{
			"": "wh_1 wh_2 wh_3 wh_4 wh_5 wh_6", "bILLing": "wh_1 wh_2", "TEAM": "wh_1", "team ": "", "/two": "wh_2",
			"0% d": "wh_3", "%": "wh_3", "a_b": "wh_3", "_": "wh_3", "A_B": "wh_3", `\`: "wh_5", "[X]": "wh_5", "*": "wh_5", "?": "wh_5",
			"\u00c9COLE": "wh_6", "\u00e9cole": "", "wh_1": "", "'": "", "nothing": "",
		} {
			ids := r.walkWebhooks(webhook.WebhookQuery{Tenant: t1, Search: search, Limit: 2}, nil)
			slices.Sort(ids)
			r.same("found by "+search, want, strings.Join(ids, " "))
		}
	}},
	{"WalkWhileCreating", saysCursor, func(r *run) {
		want := r.twelve()
		n := 0
		got := r.walkWebhooks(webhook.WebhookQuery{Tenant: t1, Limit: 2}, func([]string) {
			n++
			r.pass(time.Second)
			r.create(t1, "wh_new"+itoa(n), nil)
			r.create(t1, "wh_old"+itoa(n), func(w *webhook.WebhookRecord) { w.CreatedAt = start.Add(-time.Duration(n) * time.Hour) })
			if n > 30 {
				r.fatalf("the walk does not end")
			}
			if n > 8 {
				r.remove(t1, "wh_old"+itoa(n))
			}
		})
		seen := map[string]int{}
		var throughout []string
		for _, id := range got {
			if seen[id]++; seen[id] > 1 {
				r.brokenf("%s was returned %d times", id, seen[id])
			}
			if slices.Contains(want, id) {
				throughout = append(throughout, id)
			}
		}
		r.same("webhooks that existed throughout", want, throughout)
	}},
	{"WalkWhileDeleting", saysCursor, func(r *run) {
		want := r.twelve()
		var stay, leave []string
		for i, id := range want {
			if i%2 == 0 {
				stay = append(stay, id)
			} else {
				leave = append(leave, id)
			}
		}
		got := r.walkWebhooks(webhook.WebhookQuery{Tenant: t1, Limit: 2}, func(seen []string) {
			// Remove the webhook that the cursor may point at, or a later one.
			i := max(0, slices.Index(leave, seen[len(seen)-1]))
			if len(leave) > 0 {
				r.remove(t1, leave[i])
				leave = slices.Delete(leave, i, i+1)
			}
		})
		throughout := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return !slices.Contains(stay, id) })
		r.same("webhooks that existed throughout", stay, throughout)
	}},
	{"ForeignCursor", saysIssued, func(r *run) {
		r.twelve()
		r.publish(r.request(t1, "e1", "a.b"))
		p, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1, Limit: 2})
		r.must("ListDeliveries", err)
		for _, cursor := range append(garbage, p.Next) {
			_, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1, Limit: 2, Cursor: cursor})
			r.wantErr("ListWebhooks with a cursor of "+short(cursor), err, webhook.ErrCursor)
		}
	}},
}

// short returns the start of a text.
func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// log fills the log of tenant t1: two webhooks, four events of two types,
// deliveries in every state. Events are two minutes apart.
func (r *run) log() {
	r.Helper()
	r.create(t1, "wh_1", nil)
	r.create(t1, "wh_2", nil)
	for i, typ := range []string{"a.b", "c.d", "a.b", "c.d"} {
		r.publish(r.request(t1, "e"+itoa(i), typ))
		ds, tok := r.claimN(2)
		for _, d := range ds {
			switch {
			case d.Delivery.WebhookID == "wh_1" && i == 0:
				r.finish(r.failure(d.Delivery, tok))
			case d.Delivery.WebhookID == "wh_1":
				r.finish(r.success(d.Delivery, tok))
			case i == 1:
				r.finish(cancel(d.Delivery.ID, tok))
			default:
				r.finish(r.retry(d.Delivery, tok, 24*time.Hour))
			}
		}
		r.pass(2 * time.Minute)
	}
}

var listDeliveryChecks = []check{
	{"NewestFirst", saysNewest, func(r *run) {
		for i := range 5 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		for i := range 4 {
			r.emit(t1, "e"+itoa(i))
			r.pass(time.Microsecond)
		}
		all := r.deliveries(webhook.DeliveryQuery{Tenant: t1})
		if len(all) != 20 {
			r.fatalf("%d deliveries, want 20", len(all))
		}
		sorted := slices.Clone(all)
		slices.SortFunc(sorted, func(a, b webhook.Delivery) int {
			if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
				return c
			}
			return strings.Compare(b.ID, a.ID)
		})
		r.same("deliveries", sorted, all)
		for _, limit := range []int{1, 3, 5, 19, 20, 21} {
			r.same("deliveries in pages of "+itoa(limit), all, r.walkDeliveries(webhook.DeliveryQuery{Tenant: t1, Limit: limit}, nil))
		}
	}},
	{"Filters", "ListDeliveries returns deliveries that match q", func(r *run) {
		r.log()
		for _, c := range []struct {
			q    webhook.DeliveryQuery
			want string
		}{
			{webhook.DeliveryQuery{}, "e3/2 e3/1 e2/2 e2/1 e1/2 e1/1 e0/2 e0/1"},
			{webhook.DeliveryQuery{WebhookID: "wh_1"}, "e3/1 e2/1 e1/1 e0/1"},
			{webhook.DeliveryQuery{EventID: "e2"}, "e2/2 e2/1"},
			{webhook.DeliveryQuery{EventType: "a.b"}, "e2/2 e2/1 e0/2 e0/1"},
			{webhook.DeliveryQuery{EventType: "a"}, ""},
			{webhook.DeliveryQuery{EventType: "a.*"}, ""},
			{webhook.DeliveryQuery{EventType: "A.B"}, ""},
			{webhook.DeliveryQuery{State: webhook.StatePending}, "e3/2 e2/2 e0/2"},
			{webhook.DeliveryQuery{State: webhook.StateSucceeded}, "e3/1 e2/1 e1/1"},
			{webhook.DeliveryQuery{State: webhook.StateFailed}, "e0/1"},
			{webhook.DeliveryQuery{State: webhook.StateCanceled}, "e1/2"},
			{webhook.DeliveryQuery{Since: start.Add(2 * time.Minute)}, "e3/2 e3/1 e2/2 e2/1 e1/2 e1/1"},
			{webhook.DeliveryQuery{Since: start.Add(2*time.Minute + time.Microsecond)}, "e3/2 e3/1 e2/2 e2/1"},
			{webhook.DeliveryQuery{Until: start.Add(2 * time.Minute)}, "e0/2 e0/1"},
			{webhook.DeliveryQuery{Until: start.Add(2*time.Minute + time.Microsecond)}, "e1/2 e1/1 e0/2 e0/1"},
			{webhook.DeliveryQuery{Since: start.Add(time.Minute), Until: start.Add(5 * time.Minute), WebhookID: "wh_2"}, "e2/2 e1/2"},
			{webhook.DeliveryQuery{WebhookID: "wh_2", EventType: "c.d", State: webhook.StatePending}, "e3/2"},
			{webhook.DeliveryQuery{WebhookID: "wh_1", EventID: "e0", State: webhook.StateSucceeded}, ""},
			{webhook.DeliveryQuery{WebhookID: "missing"}, ""},
			{webhook.DeliveryQuery{EventID: "missing"}, ""},
		} {
			c.q.Tenant = t1
			for _, limit := range []int{1, 100} {
				c.q.Limit = limit
				var got []string
				for _, d := range r.walkDeliveries(c.q, nil) {
					got = append(got, d.EventID+"/"+strings.TrimPrefix(d.WebhookID, "wh_"))
				}
				r.same("deliveries", sortedPairs(c.want), sortedPairs(strings.Join(got, " ")))
			}
		}
	}},
	{"DefaultLimit", "items per page, 1–500; 0 means 50", func(r *run) {
		r.create(t1, "wh_1", nil)
		r.publish(r.requests(t1, "e", "a.b", 60)...)
		p, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1})
		r.must("ListDeliveries", err)
		r.same("items", 50, len(p.Items))
		if p.Next == "" {
			r.brokenf("no cursor although there is another page")
		}
	}},
	{"ShortPages", saysShort, func(r *run) {
		r.log()
		for _, q := range []webhook.DeliveryQuery{
			{}, {WebhookID: "wh_1"}, {EventID: "e0"}, {EventType: "a.b"}, {EventType: "none"}, {State: webhook.StatePending},
			{State: webhook.StateFailed}, {State: webhook.StateSucceeded, EventType: "c.d"}, {WebhookID: "wh_1", State: webhook.StateFailed},
			{WebhookID: "wh_2", EventType: "a.b", State: webhook.StateCanceled}, {Until: start.Add(time.Minute), EventType: "c.d"},
			{WebhookID: "wh_2", Since: start.Add(time.Minute), State: webhook.StateCanceled},
		} {
			q.Tenant, q.Limit = t1, 500
			all := r.walkDeliveries(q, nil)
			for _, q.Limit = range []int{1, 3, 500} {
				for _, q.Scan = range []int{1, 2, 3, 7, 8} {
					r.same("deliveries, looking at "+itoa(q.Scan), all, r.walkDeliveries(q, nil))
				}
			}
		}
	}},
	{"LeftOutIsOnALaterPage", saysLeft, func(r *run) {
		r.create(t1, "wh_1", nil)
		r.create(t1, "wh_2", nil)
		for i := range 20 {
			r.publish(r.request(t1, "e"+itoa(i), []string{"a.b", "c.d", "c.d", "c.d"}[i%4]))
			r.pass(time.Second)
		}
		// Meanwhile deliveries are created, and the listed deliveries end.
		n := 0
		seen := map[string]int{}
		for _, d := range r.walkDeliveries(webhook.DeliveryQuery{Tenant: t1, EventType: "a.b", Limit: 10, Scan: 3}, func() {
			n++
			r.publish(r.request(t1, "new"+itoa(n), "a.b"))
			if ds, tok := r.claim(2); len(ds) > 0 {
				r.finish(r.success(ds[0].Delivery, tok))
			}
		}) {
			seen[d.EventID]++
		}
		for i := 0; i < 20; i += 4 {
			if got := seen["e"+itoa(i)]; got != 2 {
				r.brokenf("the two deliveries of e%d, which were there throughout, were returned %d times", i, got)
			}
		}
	}},
	{"FullPagesOfManyWebhooks", saysWhole, func(r *run) {
		for i := range 60 {
			r.create(t1, "wh_"+itoa(i), nil)
		}
		// Some deliveries are finished, and one event goes to one webhook only.
		for i := range 3 {
			r.publish(r.request(t1, "e"+itoa(i), "a.b"))
			r.pass(time.Second)
		}
		ds, tok := r.claim(40)
		for _, d := range ds {
			r.finish(r.success(d.Delivery, tok))
		}
		alone := r.request(t1, "alone", "a.b")
		alone.WebhookID = "wh_7"
		r.publish(alone)
		for _, q := range []webhook.DeliveryQuery{
			{Limit: 2, Scan: 40}, {Limit: 7, Scan: 140}, {Limit: 50}, {Limit: 7, Scan: 140, Since: start.Add(time.Second)}, {Limit: 3, Scan: 60, Until: start.Add(2 * time.Second)},
		} {
			q.Tenant = t1
			for page, p := 1, (webhook.Page[webhook.Delivery]{}); page == 1 || p.Next != ""; page++ {
				var err error
				q.Cursor = p.Next
				p, err = r.store.ListDeliveries(r.Context(), q)
				r.must("ListDeliveries", err)
				if p.Next != "" && len(p.Items) != q.Limit {
					r.brokenf("page %d has %d deliveries and is not the last, Limit is %d and Scan %d", page, len(p.Items), q.Limit, q.Scan)
				}
				if page > 200 {
					r.fatalf("the walk does not end")
				}
			}
		}
	}},
	{"Reached", saysLooked, func(r *run) {
		r.log()
		q := webhook.DeliveryQuery{Tenant: t1, EventType: "a.b", Limit: 3, Scan: 2}
		all := r.deliveries(webhook.DeliveryQuery{Tenant: t1, EventType: "a.b"})
		n := 0
		for pages := 0; ; pages++ {
			p, err := r.store.ListDeliveries(r.Context(), q)
			r.must("ListDeliveries", err)
			if n += len(p.Items); n > len(all) || pages > 100 {
				r.fatalf("the walk does not end")
			}
			switch {
			case p.Next == "" && !p.Reached.IsZero():
				r.brokenf("Reached is %v on the last page", p.Reached)
			case p.Next != "" && len(p.Items) < q.Limit && p.Reached.IsZero():
				r.brokenf("a page of %d with Next set, where there may be %d, does not say how far back it looked", len(p.Items), q.Limit)
			}
			for _, d := range all[n:] {
				if d.CreatedAt.After(p.Reached) && !p.Reached.IsZero() {
					r.brokenf("Reached is %v, and a delivery of %v is on a later page", p.Reached, d.CreatedAt)
				}
			}
			if q.Cursor = p.Next; q.Cursor == "" {
				return
			}
		}
	}},
	{"None", "empty on the last page", func(r *run) {
		p, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1})
		r.must("ListDeliveries", err)
		if len(p.Items) != 0 || p.Next != "" {
			r.brokenf("got %+v, want an empty page", p)
		}
	}},
	{"WalkWhilePublishingAndPruning", "Cursors behave as in ListWebhooks.", func(r *run) {
		r.create(t1, "wh_1", nil)
		for i := range 20 {
			r.emit(t1, "e"+itoa(i))
			if i%2 == 1 {
				d, l := r.claimUntil("e" + itoa(i))
				r.finish(r.success(d, l.Token))
			}
			r.pass(time.Second)
		}
		n := 0
		seen := map[string]int{}
		for _, d := range r.walkDeliveries(webhook.DeliveryQuery{Tenant: t1, Limit: 3}, func() {
			n++
			r.emit(t1, "new"+itoa(n))
			if n == 2 {
				r.prune(r.now, 100)
			}
		}) {
			seen[d.EventID]++
		}
		for i := range 20 {
			if n := seen["e"+itoa(i)]; n > 1 || n == 0 && i%2 == 0 {
				r.brokenf("delivery of e%d, which was there throughout, was returned %d times", i, n)
			}
		}
	}},
	{"ForeignCursor", saysIssued, func(r *run) {
		r.twelve()
		r.publish(r.request(t1, "e1", "a.b"))
		p, err := r.store.ListWebhooks(r.Context(), webhook.WebhookQuery{Tenant: t1, Limit: 2})
		r.must("ListWebhooks", err)
		for _, cursor := range append(garbage, p.Next) {
			_, err := r.store.ListDeliveries(r.Context(), webhook.DeliveryQuery{Tenant: t1, Limit: 2, Cursor: cursor})
			r.wantErr("ListDeliveries with a cursor of "+short(cursor), err, webhook.ErrCursor)
		}
	}},
}

// sortedPairs sorts words: the Store assigns the IDs by which deliveries of one
// event are ordered.
func sortedPairs(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// claimUntil claims every due delivery and gives back all except the delivery
// of one event.
func (r *run) claimUntil(eventID string) (webhook.Delivery, webhook.Lease) {
	r.Helper()
	ds, tok := r.claim(100)
	var d webhook.Delivery
	var rest []webhook.Lease
	for _, c := range ds {
		if c.Delivery.EventID == eventID {
			d = c.Delivery
			continue
		}
		rest = append(rest, webhook.Lease{DeliveryID: c.Delivery.ID, Token: tok})
	}
	if d.ID == "" {
		r.fatalf("no delivery of %s among %d claimed ones", eventID, len(ds))
	}
	r.release(0, rest...)
	return d, webhook.Lease{DeliveryID: d.ID, Token: tok}
}

// walkDeliveries reads all pages of a list, and calls between after each.
func (r *run) walkDeliveries(q webhook.DeliveryQuery, between func()) []webhook.Delivery {
	r.Helper()
	var all []webhook.Delivery
	for pages := 0; ; pages++ {
		p, err := r.store.ListDeliveries(r.Context(), q)
		r.must("ListDeliveries", err)
		if len(p.Items) > q.Limit {
			r.fatalf("a page has %d deliveries, Limit is %d", len(p.Items), q.Limit)
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all
		}
		if pages > 500 {
			r.fatalf("the walk does not end")
		}
		q.Cursor = p.Next
		if between != nil {
			between()
		}
	}
}
