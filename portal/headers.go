package portal

import (
	"fmt"
	"net/textproto"

	"github.com/seed68722ecd/webhook"
)

// Values of custom headers are often credentials: they can be written here and
// never read. What is shown in their place can be sent back, and stands for the
// value that is stored.

// maskedHeaders returns the names of a webhook's headers with hidden values.
func maskedHeaders(w webhook.Webhook) map[string]string {
	out := make(map[string]string, len(w.Headers))
	for name := range w.Headers {
		out[name] = webhook.HiddenValue
	}
	return out
}

// keepHeaders returns the headers that were given with every hidden value
// replaced by the one that is stored under the same name, and refuses those of
// which none is. Nil stays nil.
func keepHeaders(given, stored map[string]string) (map[string]string, error) {
	if given == nil {
		return nil, nil
	}
	var bad refusals
	out := make(map[string]string, len(given))
	for _, name := range sortedKeys(given) { // the same request gets the same answer
		value := given[name]
		if value == webhook.HiddenValue {
			old, ok := stored[textproto.CanonicalMIMEHeaderKey(name)]
			if !ok {
				bad.refuse(fmt.Sprintf("headers[%q]", cut(name)), "has no value yet: null, or what is shown in place of a value, keeps the one that is stored")
				continue
			}
			value = old
		}
		out[name] = value
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	return out, nil
}
