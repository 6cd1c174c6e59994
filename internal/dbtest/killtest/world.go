// Package killtest loads real processes over real databases and kills them. A
// run has four kinds of processes, all started from the test's own binary: a
// receiver that is never killed, a publisher, dispatchers, and the driver,
// which is the test. What each of them saw is in a file of its own, and a
// ledger compares the files, and the database, with what is claimed.
package killtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// The world is a function of the seed, so that every process knows it without
// being told: who subscribes to what, what event number n holds, and how the
// receiver answers.

const (
	tenantCount = 20
	// hooksPerTenant and hookTypes say who selects what: an event of kind a
	// matches two webhooks, b one, c three.
	hooksPerTenant = 5
	maxRetries     = 10
)

var hookTypes = [hooksPerTenant][]string{
	{"load.a"}, {"load.b"}, {"load.c"}, {"load.c"}, {"load.a", "load.c"},
}

// hook is a webhook of the load, which stays as it is during the whole run.
type hook struct {
	Key    string // the last part of its URL
	Tenant string
	Types  []string
}

func hooks() []hook {
	var out []hook
	for i := range tenantCount {
		for j, types := range hookTypes {
			out = append(out, hook{Key: fmt.Sprintf("t%dw%d", i, j), Tenant: tenantName(i), Types: types})
		}
	}
	return out
}

func hooksByKey() map[string]hook {
	out := map[string]hook{}
	for _, h := range hooks() {
		out[h.Key] = h
	}
	return out
}

func tenantName(i int) string { return fmt.Sprintf("tenant-%d", i) }

func tenants() []string {
	out := make([]string, tenantCount)
	for i := range out {
		out[i] = tenantName(i)
	}
	return out
}

// secretOf is the secret of a webhook after so many rotations.
func secretOf(seed uint64, key string, rotation int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s/%d", seed, key, rotation))
	return "whsec_" + base64.StdEncoding.EncodeToString(sum[:])
}

// event is one event of the load.
type event struct {
	N      uint64
	ID     string
	Tenant string
	Type   string
	Time   time.Time
	Data   string // the canonical JSON text, written here without the library's encoder
}

// poisonType is the type of the event at which the dispatchers of the
// crash-loop scenario die.
const poisonType = "load.b"

// nasty are values in the one form that JSON.stringify gives them.
var nasty = []string{
	`"\u0000\u0001\b\t\n\f\r\u001f\""`, "\"\u2028\u2029\"", `"😀 é ñ 漢字"`, `"</script><script>&"`, `"\\u0041\\"`,
	`[1e+21,0,-1.5,9007199254740991]`, `{"1":true,"2":null,"b":false,"a":[]}`, `"\ud800"`,
}

// makeEvent returns event number n of a run.
func makeEvent(seed, n uint64) event {
	h := mix(seed, "event", n)
	ev := event{
		N:      n,
		ID:     fmt.Sprintf("e%x-%d", seed&0xffff, n),
		Tenant: tenantName(int(h % tenantCount)),
		Type:   [...]string{"load.a", "load.b", "load.c"}[h>>8%3],
		Time:   time.UnixMicro(1_700_000_000_000_000 + int64(n)).UTC(),
	}
	value := `"plain"`
	if h>>16%10 == 0 {
		value = nasty[h>>24%uint64(len(nasty))]
	}
	fill := strings.Repeat("x", int(h>>32%700))
	ev.Data = fmt.Sprintf(`{"n":%d,"value":%s,"fill":%q}`, n, value, fill)
	return ev
}

// number is the inverse of an event's ID.
func number(seed uint64, id string) (uint64, bool) {
	var s, n uint64
	if _, err := fmt.Sscanf(id, "e%x-%d", &s, &n); err != nil || s != seed&0xffff {
		return 0, false
	}
	return n, makeEvent(seed, n).ID == id
}

// body is what a receiver must get, byte for byte.
func (e event) body(webhookID, webhookName string) []byte {
	return fmt.Appendf(nil, `{"event":"%s","webhook":{"id":"%s","name":"%s"},"timestamp":"%s","data":%s}`,
		e.Type, webhookID, webhookName, e.Time.Format("2006-01-02T15:04:05.000000Z"), e.Data)
}

// The answers of the receiver.
const (
	answerOK     = "200"
	answerSlow   = "200-slow"
	answerBroken = "200-broken"
	answer500    = "500"
	answer429    = "429"
	answerReset  = "reset"
	answerHang   = "hang"
)

// answerFor is the receiver's answer to an attempt: 70 % 200 at once, 10 % 200
// after a while, 8 % 500, 4 % 429, 4 % reset, 2 % no answer, 2 % 200 with a body
// that breaks off.
func answerFor(seed uint64, key, eventID string, attempt int) (kind string, delay time.Duration) {
	h := mix(seed, key+"/"+eventID, uint64(attempt))
	switch p := h % 100; {
	case p < 70:
		return answerOK, time.Duration(1+h>>16%50) * time.Millisecond
	case p < 80:
		return answerSlow, time.Duration(300+h>>16%900) * time.Millisecond
	case p < 88:
		return answer500, 0
	case p < 92:
		return answer429, 0
	case p < 96:
		return answerReset, 0
	case p < 98:
		return answerHang, 0
	default:
		return answerBroken, 0
	}
}

// mix is a hash of its arguments.
func mix(seed uint64, what string, n uint64) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s/%d", seed, what, n))
	return binary.LittleEndian.Uint64(sum[:])
}
