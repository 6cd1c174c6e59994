package portal

// pageMatrix is the part of the matrix for the routes of pages.
var pageMatrix = map[string]matrixEntry{
	"GET webhooks/{id}":           {"webhook", ""},
	"GET webhooks/{id}/edit":      {"webhook", ""},
	"POST webhooks/{id}/edit":     {"webhook", "version=2&name=n&url=https%3A%2F%2Fexample.com&events=*&sslVerification=on"},
	"POST webhooks/{id}/enable":   {"webhook", ""},
	"GET webhooks/{id}/disable":   {"webhook", ""},
	"POST webhooks/{id}/disable":  {"webhook", "reason=a+test"},
	"GET webhooks/{id}/delete":    {"webhook", ""},
	"POST webhooks/{id}/delete":   {"webhook", "sure=yes"},
	"GET webhooks/{id}/secret":    {"webhook", ""},
	"POST webhooks/{id}/secret":   {"webhook", "old=stop"},
	"GET webhooks/{id}/test":      {"webhook", ""},
	"POST webhooks/{id}/test":     {"webhook", "type=agent.message"},
	"GET webhooks/{id}/replay":    {"webhook", ""},
	"POST webhooks/{id}/replay":   {"webhook", "back=24h&failed=1"},
	"GET deliveries/{id}":         {"delivery", ""},
	"POST deliveries/{id}/resend": {"delivery", ""},
}
