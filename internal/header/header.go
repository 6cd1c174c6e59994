// Package header checks the custom headers of a webhook: names that the library, net/http
// or a proxy of the receiver needs are reserved, and values are printable ASCII.
package header

import (
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"
)

// Limits of the custom headers of one webhook. Node.js, for one, answers 431
// to a request whose headers are over 16 KiB in all.
const (
	maxCount     = 20
	maxName      = 128  // bytes
	maxValue     = 4096 // bytes
	maxTotal     = 8192 // bytes, names and values together
	maxNameShown = 40   // bytes of a name in an error message
)

// reservedNames are the headers that the library or net/http sets, or that
// change what a request is: where it ends, where it goes, which method it has,
// how often it may be sent. Proxies and frameworks of the receiver's believe
// others: who sent the request, and whose trace it belongs to. A customer
// whose webhook points at somebody else's server must not be able to say
// either. In lower case, with hyphens.
var reservedNames = map[string]bool{
	// The frame and the meaning of the request.
	"accept-encoding":        true, // would turn on decoding of the answer
	"connection":             true, // could name a header for proxies to drop
	"digest":                 true, // of the body, as Content-Digest is
	"early-data":             true,
	"expect":                 true,
	"host":                   true,
	"http2-settings":         true,
	"idempotency-key":        true, // net/http repeats a request that has one
	"if-range":               true,
	"keep-alive":             true,
	"max-forwards":           true,
	"range":                  true,
	"repr-digest":            true,
	"te":                     true,
	"trailer":                true,
	"transfer-encoding":      true,
	"upgrade":                true,
	"user-agent":             true, // see Config.UserAgent
	"via":                    true,
	"want-digest":            true,
	"x-http-host-override":   true,
	"x-http-method":          true,
	"x-idempotency-key":      true, // as idempotency-key
	"x-method-override":      true,
	"x-original-host":        true,
	"x-original-method":      true,
	"x-original-uri":         true,
	"x-original-url":         true,
	"x-rewrite-url":          true,
	"x-script-name":          true,
	"x-sendfile-type":        true, // Rack would send files of the receiver's
	"x-http-path-override":   true,
	"x-http-method-override": true,

	// Who sent the request.
	"cf-access-authenticated-user-email": true,
	"cf-connecting-ip":                   true,
	"cf-connecting-ipv6":                 true,
	"cf-ew-via":                          true,
	"cf-ipcountry":                       true,
	"cf-pseudo-ipv4":                     true,
	"cf-ray":                             true,
	"cf-visitor":                         true,
	"cf-worker":                          true,
	"client-ip":                          true,
	"do-connecting-ip":                   true,
	"forwarded":                          true,
	"forwarded-for":                      true,
	"incap-client-ip":                    true,
	"remote-addr":                        true,
	"remote-user":                        true,
	"true-client-ip":                     true,
	"x-client-cert":                      true,
	"x-client-dn":                        true,
	"x-client-ip":                        true,
	"x-client-port":                      true,
	"x-client-verify":                    true,
	"x-cluster-client-ip":                true,
	"x-forwarded":                        true,
	"x-forwarder-for":                    true,
	"x-nf-client-connection-ip":          true,
	"x-originating-ip":                   true,
	"x-proxyuser-ip":                     true,
	"x-real-host":                        true,
	"x-real-ip":                          true,
	"x-real-port":                        true,
	"x-sucuri-clientip":                  true,
	"x-user-ip":                          true,
	"x-webauth-user":                     true,

	// Whose trace the request belongs to says the host, see Observer.
	"b3":                    true,
	"baggage":               true,
	"grpc-trace-bin":        true,
	"sentry-trace":          true,
	"traceparent":           true,
	"tracestate":            true,
	"uber-trace-id":         true,
	"x-amzn-trace-id":       true,
	"x-cloud-trace-context": true,
	"x-ot-span-context":     true,
}

// reservedPrefixes are families of headers, for the same reasons: the
// library's own, those that describe the body, those that load balancers,
// clouds and gateways write for the application behind them.
var reservedPrefixes = [...]string{
	"webhook-", "x-webhook-",
	"content-",
	"cdn-loop", "proxy-", "sec-", "x-accel-", "x-middleware-",
	"fastly-", "fly-", "wl-proxy-", "x-akamai-", "x-amzn-oidc-", "x-appengine-", "x-arr-", "x-auth-request-", "x-azure-",
	"x-envoy-", "x-forwarded-", "x-goog-authenticated-user-", "x-goog-iap-", "x-ms-client-principal", "x-original-forwarded-", "x-remote-", "x-vercel-",
	"client-cert", "ssl-client-", "x-ssl-",
	"uberctx-", "x-b3-", "x-datadog-",
}

// Reserved reports whether a custom header may not have this name, in
// any case and with underscores or the like for hyphens, which many servers
// read as the same. It is asked when a webhook is saved, and again when a request is
// built: whatever got into a Store, the header does not reach the wire.
func Reserved(name string) bool {
	name = fold(name)
	return reservedNames[name] || slices.ContainsFunc(reservedPrefixes[:], func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// Check returns a copy of h with canonical names and trimmed values,
// which is what goes over the wire, or an error that names every header that
// was refused, the limit and the size, and never a value. Its Unwrap lists them.
func Check(h map[string]string) (map[string]string, error) {
	if len(h) > maxCount {
		return nil, fmt.Errorf("%d headers; the limit is %d", len(h), maxCount)
	}
	checked := make(map[string]string, len(h))
	spellings := make(map[string]string, len(h))
	total := 0
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(h)) { // sorted: the same input gets the same error
		if err := checkName(name); err != nil {
			refused = append(refused, err)
			continue
		}
		if other, ok := spellings[fold(name)]; ok {
			refused = append(refused, fmt.Errorf("%q and %q are the same header to most servers; keep one", other, name))
			continue
		}
		spellings[fold(name)] = name
		value := strings.Trim(h[name], " \t") // not a line end: that is refused
		if err := CheckValue(name, value); err != nil {
			refused = append(refused, err)
			continue
		}
		total += len(name) + len(value)
		checked[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	if len(refused) > 0 {
		return nil, errors.Join(refused...)
	}
	if total > maxTotal {
		return nil, fmt.Errorf("names and values are %d bytes in all; the limit is %d", total, maxTotal)
	}
	return checked, nil
}

func checkName(name string) error {
	if name == "" {
		return errors.New("a name is empty")
	}
	shown := name
	if len(shown) > maxNameShown {
		shown = shown[:maxNameShown] + "…"
	}
	if len(name) > maxName {
		return fmt.Errorf("name %q is %d bytes; the limit is %d", shown, len(name), maxName)
	}
	for i := range len(name) {
		if !isTokenByte(name[i]) {
			return fmt.Errorf("name %q: byte %d (0x%02x) is not allowed; use letters, digits and hyphens", shown, i, name[i])
		}
	}
	if Reserved(name) {
		return fmt.Errorf("%q is reserved and cannot be set", shown)
	}
	return nil
}

// CheckValue returns an error that names the header when its value is longer than
// 4096 bytes or holds a byte that is not printable ASCII.
func CheckValue(name, value string) error {
	if len(value) > maxValue {
		return fmt.Errorf("value of %q is %d bytes; the limit is %d", name, len(value), maxValue)
	}
	if err := CheckText(value); err != nil {
		return fmt.Errorf("value of %q: %w", name, err)
	}
	return nil
}

// CheckText returns an error when the value of a header is not printable ASCII.
func CheckText(value string) error {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return fmt.Errorf("byte %d is not printable ASCII", i)
		}
	}
	return nil
}

// fold maps the spellings that servers take for the same name to one:
// CGI and its descendants turn everything but letters and digits into "_".
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// isTokenByte reports whether b may be part of a name: RFC 9110's tchar.
func isTokenByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}
