package storetest

import (
	"bytes"
	"time"

	"github.com/seed68722ecd/webhook"
)

const (
	saysAttempts = "ListAttempts returns every recorded attempt of a delivery in the order in which they were recorded, or ErrNotFound when the delivery does not exist."
	saysBodies   = "any bytes at all: a Store keeps them as bytes"
)

// allBytes returns n bytes, in which every byte value occurs.
func allBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

var attemptChecks = []check{
	{"EveryFieldComesBack", saysAttempts, func(r *run) {
		d, l := r.claimed()
		res := r.retry(d, l.Token, time.Minute)
		*res.Attempt = webhook.Attempt{
			DeliveryID: d.ID, Number: 1, StartedAt: r.now.Add(-1234567 * time.Microsecond),
			Duration: 987654 * time.Microsecond, Status: 503, Class: webhook.ClassStatus,
			Error:           "answered 503 \u2028 \U0001F600 'quoted' \"twice\" \\n",
			ResponseHeaders: map[string]string{"Content-Type": "text/html", "Retry-After": "5", "X-Request-Id": ""},
			ResponseBody:    []byte("busy"), ResponseTruncated: true,
		}
		r.finish(res)
		r.same("attempts", []webhook.Attempt{*res.Attempt}, r.attempts(d.ID))
	}},
	{"FewFieldsComeBack", saysAttempts, func(r *run) {
		d, l := r.claimed()
		res := r.retry(d, l.Token, time.Minute)
		*res.Attempt = webhook.Attempt{DeliveryID: d.ID, Number: 1, StartedAt: r.now, Duration: time.Microsecond, Class: webhook.ClassDNS}
		r.finish(res)
		r.same("attempts", []webhook.Attempt{*res.Attempt}, r.attempts(d.ID))
	}},
	{"ResponseBodyIsBytes", saysBodies, func(r *run) {
		r.create(t1, "wh_1", nil)
		bodies := [][]byte{
			allBytes(256), allBytes(4096), {0}, {0xff, 0xfe, 0x80}, []byte("\xed\xa0\x80"), []byte("a\x00b"), []byte(`\x41`),
			[]byte(`\000`), []byte("0x41"), []byte("\r\n\r\n"), make([]byte, 4096), []byte("{\"a\":\"\\u0000\"}"),
		}
		reqs := r.requests(t1, "e", "a.b", len(bodies))
		r.publish(reqs...)
		ds, tok := r.claimN(len(bodies))
		var results []webhook.Result
		for i, body := range bodies {
			res := r.success(ds[i].Delivery, tok)
			res.Attempt.ResponseBody = body
			results = append(results, res)
		}
		r.complete(results...)
		for i, body := range bodies {
			if as := r.attempts(ds[i].Delivery.ID); len(as) != 1 || !bytes.Equal(as[0].ResponseBody, body) {
				r.brokenf("response body %q came back in %+v", body, as)
			}
		}
	}},
	{"InOrderRecorded", saysAttempts, func(r *run) {
		d, old := r.claimed()
		r.pass(lease + time.Second)
		var want []int
		for range 12 {
			var l webhook.Lease
			d, l = r.claimOne()
			res := r.retry(d, l.Token, 0)
			res.Attempt.StartedAt = r.now.Add(-time.Duration(d.Attempts) * time.Minute) // the order of attempts differs from the order of their times
			r.finish(res)
			want = append(want, d.Attempts+1)
		}
		first := d
		first.Attempts = 0
		r.complete(r.failure(first, old.Token))
		var got []int
		for _, a := range r.attempts(d.ID) {
			got = append(got, a.Number)
		}
		r.same("numbers of the attempts", append(want, 1), got)
	}},
	{"NoneYet", saysAttempts, func(r *run) {
		d, _ := r.claimed()
		if as := r.attempts(d.ID); len(as) != 0 {
			r.brokenf("got %+v, want none", as)
		}
	}},
	{"MissingDelivery", saysAttempts, func(r *run) {
		_, err := r.store.ListAttempts(r.Context(), t1, "missing")
		r.wantErr("ListAttempts", err, webhook.ErrNotFound)
		_, err = r.store.GetDelivery(r.Context(), t1, "missing")
		r.wantErr("GetDelivery", err, webhook.ErrNotFound)
		_, err = r.store.GetEvent(r.Context(), t1, "missing")
		r.wantErr("GetEvent", err, webhook.ErrNotFound)
	}},
	{"StayAfterResend", "Attempts are only ever added.", func(r *run) {
		d, l := r.claimed()
		r.finish(r.failure(d, l.Token))
		r.resend(d.ID)
		d, l = r.claimOne()
		r.finish(r.success(d, l.Token))
		as := r.attempts(d.ID)
		if len(as) != 2 || as[0].Number != 1 || as[1].Number != 2 {
			r.brokenf("attempts %+v, want numbers 1 and 2", as)
		}
	}},
}
