package portal

import (
	"fmt"
	"net/textproto"

	"github.com/seed68722ecd/webhook"
)

// Values of custom headers are often credentials, so the portal writes them and
// never shows them. A client may send back the mask that is shown instead; it
// stands for the stored value.

// maskedHeaders returns the names of a webhook's headers with hidden values.
func maskedHeaders(w webhook.Webhook) map[string]string {
	out := make(map[string]string, len(w.Headers))
	for name := range w.Headers {
		out[name] = webhook.HiddenValue
	}
	return out
}

// keepHeaders returns the given headers with every masked value replaced by the
// stored value of the same name. It refuses a masked value for a name that is
// not stored. Nil stays nil.
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
				bad.refuse(fmt.Sprintf("headers[%q]", cut(name)), "has no value yet: null, or the mask shown in place of a value, keeps the stored value")
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
