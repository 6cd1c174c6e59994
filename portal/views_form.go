package portal

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed68722ecd/webhook"
)

// formView is the form of a webhook's settings: the input as typed, and its
// errors.
type formView struct {
	Root          string
	New           bool
	ID            string
	Version       int64
	Name, URL     string
	Description   string
	Timeout       string
	MaxRetries    string
	RateLimit     string
	Secret        string // imported; new webhooks only
	Inactive      bool   // to be created disabled; new webhooks only
	VerifyTLS     string // on or off
	WasOff        bool   // verification is off already and needs no new confirmation
	NoOff         bool   // the host does not allow switching it off
	AllowHTTP     bool   // the host allows http URLs
	ConfirmedOff  bool
	All           bool // "*" is chosen
	Groups        []typeGroup
	Patterns      string   // typed patterns, one a line
	chosen        []string // all selections, in the order in which they are passed on
	Headers       []headerRow
	hasHeaders    bool // the form has fields for headers
	emptyRows     int  // rows of headers that were left empty
	Errors        []problemField
	Stored        []storedValue // the stored settings, after a conflict
	ConflictTitle string
}

// typeGroup is a group of event types with the same first part.
type typeGroup struct {
	Pattern string // such as "agent.*"; empty for a group of one
	Chosen  bool
	Types   []typeOption
}

// typeOption is an event type to choose.
type typeOption struct {
	Index             int
	Name, Description string
	Sample            []token
	Chosen            bool
}

// headerRow is one line of the custom headers.
type headerRow struct {
	Index       int
	Name, Value string
	Set         bool // a stored header, whose value is not shown
	Remove      bool
}

// storedValue is a stored setting that differs from the typed one.
type storedValue struct {
	Label, Value string
}

// headerRows bounds the rows of headers that are read from a form. It is more
// than can be saved, so that too many rows are refused and not dropped
// silently.
const headerRows = 40

// Limits for the template.
func (formView) NameLimit() int        { return webhook.MaxNameLength }
func (formView) URLLimit() int         { return webhook.MaxURLLength }
func (formView) DescriptionLimit() int { return webhook.MaxDescriptionLength }
func (formView) TimeoutDefault() int   { return int(webhook.DefaultTimeout / time.Second) }
func (formView) TimeoutMin() int       { return int(webhook.MinTimeout / time.Second) }
func (formView) TimeoutMax() int       { return int(webhook.MaxTimeout / time.Second) }
func (formView) RetriesDefault() int   { return webhook.DefaultMaxRetries }
func (formView) RetriesMax() int       { return webhook.MaxMaxRetries }
func (formView) RateMin() float64      { return webhook.MinRateLimit }
func (formView) RateMax() string       { return count(int(webhook.MaxRateLimit)) }
func (formView) PatternsLimit() int    { return webhook.MaxEventPatterns }

// Err returns the errors of a field and of its elements.
func (f formView) Err(field string) []string {
	var out []string
	for _, e := range f.Errors {
		name, rest := e.Field, ""
		if i := strings.IndexByte(name, '['); i >= 0 {
			name, rest = name[:i], name[i:]
		}
		if name != field {
			continue
		}
		if field == "events" && rest != "" {
			if i, err := strconv.Atoi(strings.Trim(rest, "[]")); err == nil && i < len(f.chosen) {
				out = append(out, fmt.Sprintf("%q: %s", cut(f.chosen[i]), e.Reason))
				continue
			}
		}
		out = append(out, e.Reason)
	}
	return out
}

// fieldErrors holds the errors of one field, for the template.
type fieldErrors struct {
	Field string
	Texts []string
}

// ErrView returns the errors of a field for the template.
func (f formView) ErrView(field string) fieldErrors { return fieldErrors{field, f.Err(field)} }

// BlankRow is the empty row that the page's script copies.
func (formView) BlankRow() headerRow { return headerRow{Index: headerRows - 1} }

// fieldOrder is the order of the fields in the form, with their labels.
var fieldOrder = []struct{ Field, Label string }{
	{"name", "Name"}, {"url", "URL"}, {"description", "Description"}, {"events", "Events"}, {"headers", "Custom headers"},
	{"timeout", "Timeout"}, {"maxRetries", "Retries"}, {"rateLimit", "Rate limit"}, {"sslVerification", "TLS verification"}, {"secret", "Secret"},
}

// summaryLine is one field in the list of errors above the form.
type summaryLine struct {
	Field, Label, Text string
}

// Summary lists the errors in the order of the form.
func (f formView) Summary() []summaryLine {
	var out []summaryLine
	known := make(map[string]bool, len(fieldOrder))
	for _, o := range fieldOrder {
		known[o.Field] = true
		for _, e := range f.Err(o.Field) {
			out = append(out, summaryLine{o.Field, o.Label, e})
		}
	}
	for _, e := range f.Errors {
		name, _, _ := strings.Cut(e.Field, "[")
		if !known[name] {
			out = append(out, summaryLine{"", e.Field, e.Reason})
		}
	}
	return out
}

// collect gathers the selections without duplicates.
func (f *formView) collect() {
	var out []string
	if f.All {
		out = append(out, "*")
	}
	for _, g := range f.Groups {
		if g.Chosen {
			out = append(out, g.Pattern)
		}
		for _, t := range g.Types {
			if t.Chosen {
				out = append(out, t.Name)
			}
		}
	}
	typed := strings.FieldsFunc(f.Patterns, func(r rune) bool { return strings.ContainsRune("\r\n\t ,;", r) })
	seen := make(map[string]bool, len(out)+len(typed))
	for _, p := range out {
		seen[p] = true
	}
	for _, p := range typed {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	f.chosen = out
}

// choose sets the selections: types of the catalogue as checked boxes, the rest
// as text.
func (f *formView) choose(types []eventType, selected []string) {
	f.Groups = groupTypes(types)
	ticks := map[string]*bool{"*": &f.All}
	for gi := range f.Groups {
		g := &f.Groups[gi]
		if g.Pattern != "" {
			ticks[g.Pattern] = &g.Chosen
		}
		for ti := range g.Types {
			ticks[g.Types[ti].Name] = &g.Types[ti].Chosen
		}
	}
	var free []string
	for _, p := range selected {
		if tick := ticks[p]; tick != nil {
			*tick = true
		} else {
			free = append(free, p)
		}
	}
	f.Patterns = strings.Join(free, "\n")
	f.collect()
}

// groupTypes groups the catalogue by the first part of the names, in the order
// of the catalogue.
func groupTypes(types []eventType) []typeGroup {
	var groups []typeGroup
	at := make(map[string]int)
	for i := range types {
		t := &types[i]
		prefix, _, dotted := strings.Cut(t.Name, ".")
		gi, ok := at[prefix]
		if !ok {
			gi = len(groups)
			at[prefix] = gi
			groups = append(groups, typeGroup{})
		}
		g := &groups[gi]
		g.Types = append(g.Types, typeOption{Index: i, Name: t.Name, Description: t.Description, Sample: prettyJSON(t.Sample)})
		if dotted && len(g.Types) > 1 {
			g.Pattern = prefix + ".*"
		}
	}
	return groups
}

// formOf returns the form with a webhook's settings.
func (s *server) formOf(w *webhook.Webhook) formView {
	f := formView{
		ID: w.ID, Version: w.Version, Name: w.Name, URL: w.URL, Description: w.Description,
		Timeout: strconv.FormatFloat(w.Timeout.Seconds(), 'f', -1, 64), MaxRetries: strconv.Itoa(w.MaxRetries), VerifyTLS: onOff(w.VerifyTLS), WasOff: !w.VerifyTLS,
		RateLimit: rateField(w.RateLimit),
	}
	f.choose(s.types, w.Events)
	for _, name := range sortedKeys(w.Headers) {
		f.Headers = append(f.Headers, headerRow{Index: len(f.Headers), Name: name, Set: true})
	}
	f.addRows(1)
	return f
}

// newForm returns the form of a new webhook, with the defaults.
func (s *server) newForm() formView {
	f := formView{
		New: true, Timeout: strconv.Itoa(formView{}.TimeoutDefault()), MaxRetries: strconv.Itoa(webhook.DefaultMaxRetries), VerifyTLS: "on",
	}
	f.choose(s.types, nil)
	f.addRows(1)
	return f
}

// addRows adds empty rows for more headers.
func (f *formView) addRows(n int) {
	for range n {
		if len(f.Headers) < headerRows {
			f.Headers = append(f.Headers, headerRow{Index: len(f.Headers)})
		}
	}
}

// rateField returns the text of a rate limit for the form; no limit is an empty
// field.
func rateField(r float64) string {
	if r == 0 {
		return ""
	}
	return strconv.FormatFloat(r, 'f', -1, 64)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// readForm reads the form as typed.
func (s *server) readForm(v url.Values) formView {
	f := formView{
		Name: v.Get("name"), URL: strings.TrimSpace(v.Get("url")), Description: strings.ReplaceAll(v.Get("description"), "\r\n", "\n"),
		Timeout: strings.TrimSpace(v.Get("timeout")), MaxRetries: strings.TrimSpace(v.Get("maxRetries")), RateLimit: strings.TrimSpace(v.Get("rateLimit")), Secret: strings.TrimSpace(v.Get("secret")),
		Inactive: v.Get("active") == "no", VerifyTLS: v.Get("sslVerification"), ConfirmedOff: v.Get("sslVerificationOff") == "yes",
	}
	f.Version, _ = strconv.ParseInt(v.Get("version"), 10, 64) // an invalid version is 0, and the save is then refused
	f.choose(s.types, v["events"])
	f.Patterns = strings.TrimSpace(f.Patterns + "\n" + strings.ReplaceAll(v.Get("patterns"), "\r\n", "\n"))
	f.collect()
	for i := range headerRows {
		n := strconv.Itoa(i)
		if !v.Has("headerName." + n) {
			continue
		}
		f.hasHeaders = true
		row := headerRow{
			Index: len(f.Headers), Name: strings.TrimSpace(v.Get("headerName." + n)), Value: v.Get("headerValue." + n),
			Set: v.Get("headerSet."+n) == "1", Remove: v.Get("headerRemove."+n) == "1",
		}
		if row.Name == "" && row.Value == "" {
			f.emptyRows++
			continue
		}
		f.Headers = append(f.Headers, row)
	}
	return f
}

// formSettings holds the settings that are parsed from the form's text.
type formSettings struct {
	timeout   time.Duration
	retries   int
	rateLimit float64
	verify    bool
	headers   map[string]string // with the mask for values to keep
}

// settings parses the settings and adds malformed fields to Errors.
func (f *formView) settings() formSettings {
	bad := func(field, format string, args ...any) {
		f.Errors = append(f.Errors, problemField{field, fmt.Sprintf(format, args...)})
	}
	out := formSettings{webhook.DefaultTimeout, webhook.DefaultMaxRetries, 0, true, make(map[string]string, len(f.Headers))}
	if f.Timeout != "" {
		sec, err := strconv.ParseFloat(f.Timeout, 64)
		if lo, hi := float64(f.TimeoutMin()), float64(f.TimeoutMax()); err != nil || !(sec >= lo && sec <= hi) {
			sec = lo
			bad("timeout", "must be %d to %d seconds, got %q", f.TimeoutMin(), f.TimeoutMax(), cut(f.Timeout))
		}
		out.timeout = time.Duration(sec * float64(time.Second))
	}
	if f.MaxRetries != "" {
		n, err := strconv.Atoi(f.MaxRetries)
		if err != nil || n < 0 || n > f.RetriesMax() {
			bad("maxRetries", "must be a whole number from 0 to %d, got %q", f.RetriesMax(), cut(f.MaxRetries))
		}
		out.retries = n
	}
	if f.RateLimit != "" {
		n, err := strconv.ParseFloat(f.RateLimit, 64)
		if err != nil || n != 0 && !(n >= webhook.MinRateLimit && n <= webhook.MaxRateLimit) {
			n = 0
			bad("rateLimit", "must be a number of attempts per second, %v to %s, or empty for no limit, got %q", f.RateMin(), f.RateMax(), cut(f.RateLimit))
		}
		out.rateLimit = n
	}
	switch f.VerifyTLS {
	case "on", "":
		f.VerifyTLS = "on"
	case "off":
		out.verify = false
		if !f.ConfirmedOff && !f.WasOff {
			bad("sslVerification", "switching it off has to be confirmed: tick the box below")
		}
	default:
		bad("sslVerification", "must be on or off, got %q", cut(f.VerifyTLS))
	}
	for _, h := range f.Headers {
		if h.Remove {
			continue
		}
		if _, twice := out.headers[h.Name]; twice {
			bad("headers", "%q is there twice", cut(h.Name))
		}
		if h.Set && h.Value == "" {
			out.headers[h.Name] = webhook.HiddenValue
			continue
		}
		out.headers[h.Name] = h.Value
	}
	return out
}
