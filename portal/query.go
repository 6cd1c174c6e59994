package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPage is the most items of a page of the API.
const maxPage = 500

// query is the query of a request, whose parameters are taken like the fields
// of an object.
type query struct {
	values url.Values
	taken  []string
	refusals
}

func readQuery(r *http.Request) *query {
	q := new(query)
	var err error
	if q.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		q.refuse("query", "is not a valid query string")
	}
	return q
}

func (q *query) text(name string) string {
	q.taken = append(q.taken, name)
	if len(q.values[name]) > 1 {
		q.refuse(name, "is there more than once")
	}
	return q.values.Get(name)
}

// integer returns 0 if the parameter is missing.
func (q *query) integer(name string, low, high int) int {
	s := q.text(name)
	if s == "" && !q.values.Has(name) {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		q.refuse(name, "must be a whole number, %d–%d, got %+q", low, high, cut(s))
	}
	return n
}

func (q *query) limit() int { return q.integer("limit", 1, maxPage) }

// moment returns the zero time if the parameter is missing.
func (q *query) moment(name string) time.Time {
	s := q.text(name)
	if s == "" {
		return time.Time{}
	}
	// An unescaped plus sign has been decoded to a space.
	t, err := parseTime(strings.Replace(s, " ", "+", 1))
	if err != nil {
		q.refuse(name, "%v", err)
	}
	return t
}

// done refuses the parameters that were not taken, and returns all errors.
func (q *query) done() error {
	var odd []string
	for name := range q.values {
		if !slices.Contains(q.taken, name) {
			odd = append(odd, name)
		}
	}
	slices.Sort(odd)
	for _, name := range odd {
		reason := "is unknown here: there are no parameters"
		if len(q.taken) > 0 {
			reason = "is unknown here: known are " + strings.Join(q.taken, ", ")
		}
		q.refuse(name, "%s", reason)
	}
	return q.err()
}
