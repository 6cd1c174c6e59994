package portal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed68722ecd/webhook"
)

// maxDepth bounds the nesting of a body: no route takes more than an object
// in an object.
const maxDepth = 8

// object is a JSON object that a client sent. Its methods take fields out of it
// and note errors; done refuses the fields that remain.
type object struct {
	fields map[string]any
	taken  []string
	refusals
}

// readObject reads a body that is one JSON object, or empty if mayBeEmpty.
// encoding/json alone would accept the last of two equal names, names in any
// case, and several values. They are refused here, so that a proxy cannot read
// a request differently from the portal.
func readObject(r *http.Request, mayBeEmpty bool) (*object, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, errTooLarge
		}
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body broke off.")
	}
	if err := consumed(r); err != nil {
		return nil, err
	}
	if len(body) == 0 && mayBeEmpty {
		return &object{}, nil
	}
	switch {
	case !utf8.Valid(body):
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body is not valid UTF-8.")
	case !json.Valid(body):
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body is not one valid JSON value.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	v, err := readValue(r.Context(), dec, 0)
	if twice, ok := errors.AsType[*fieldTwiceError](err); ok {
		return nil, invalidField(strings.TrimPrefix(twice.path, "."), "is there twice")
	}
	if err != nil {
		return nil, err
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body must be a JSON object.")
	}
	return &object{fields: fields}, nil
}

// fieldTwiceError refuses an object that holds a name twice.
type fieldTwiceError struct{ path string }

func (e *fieldTwiceError) Error() string { return e.path + " is there twice" }

// within adds the place of a value to the path of a fieldTwiceError, so that
// paths are built only for errors.
func within(at string, err error) error {
	if twice, ok := errors.AsType[*fieldTwiceError](err); ok {
		return &fieldTwiceError{at + twice.path}
	}
	return err
}

// readValue reads the next value of a body that is known to be valid JSON. It
// ends early if the client has gone.
func readValue(ctx context.Context, dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body is not one valid JSON value.")
	}
	open, nested := tok.(json.Delim)
	if !nested {
		return tok, nil
	}
	if depth == maxDepth {
		return nil, refuse(http.StatusBadRequest, codeMalformed, "The body is nested more than %d deep.", maxDepth)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if open == '[' {
		list := []any{}
		for dec.More() {
			v, err := readValue(ctx, dec, depth+1)
			if err != nil {
				return nil, within("["+strconv.Itoa(len(list))+"]", err)
			}
			list = append(list, v)
		}
		_, _ = dec.Token() // the closing delimiter, known to be there
		return list, nil
	}
	fields := map[string]any{}
	for dec.More() {
		tok, _ := dec.Token()
		name, _ := tok.(string)
		if _, twice := fields[name]; twice {
			return nil, &fieldTwiceError{"." + cut(name)}
		}
		v, err := readValue(ctx, dec, depth+1)
		if err != nil {
			return nil, within("."+cut(name), err)
		}
		fields[name] = v
	}
	_, _ = dec.Token()
	return fields, nil
}

// take returns the value of a field; ok is false if it is missing or null. Null
// is refused, since it could mean the stored value or the default.
func (o *object) take(name, want string) (v any, ok bool) {
	o.taken = append(o.taken, name)
	v, ok = o.fields[name]
	if ok && v == nil {
		o.refuse(name, "must be %s, got null: leave it out instead", want)
		return nil, false
	}
	return v, ok
}

// as takes a field of a JSON type.
func as[T any](o *object, name, want string) *T {
	v, ok := o.take(name, want)
	if !ok {
		return nil
	}
	t, ok := v.(T)
	if !ok {
		o.refuse(name, "must be %s, got %s", want, kindOfJSON(v))
		return nil
	}
	return &t
}

func (o *object) text(name string) *string { return as[string](o, name, "a string") }

func (o *object) flag(name string) *bool { return as[bool](o, name, "true or false") }

// texts takes a list of strings; nil if it is missing or refused.
func (o *object) texts(name string) []string {
	list := as[[]any](o, name, "a list of strings")
	if list == nil {
		return nil
	}
	out := make([]string, 0, len(*list))
	for i, v := range *list {
		s, ok := v.(string)
		if !ok {
			o.refuse(name+"["+strconv.Itoa(i)+"]", "must be a string, got %s", kindOfJSON(v))
			return nil
		}
		out = append(out, s)
	}
	return out
}

// integer takes a whole number.
func (o *object) integer(name string) *int {
	n := as[json.Number](o, name, "a whole number")
	if n == nil {
		return nil
	}
	i, err := strconv.Atoi(n.String())
	if err != nil {
		o.refuse(name, "must be a whole number of a sensible size, got %s", cut(n.String()))
		return nil
	}
	return &i
}

// seconds takes a number of seconds.
func (o *object) seconds(name string) *time.Duration {
	n := as[json.Number](o, name, "a number of seconds")
	if n == nil {
		return nil
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || math.Abs(f) > 1e9 { // the field's own limit is far lower and has a better message
		o.refuse(name, "must be a number of seconds of a sensible size, got %s", cut(n.String()))
		return nil
	}
	d := time.Duration(math.Round(f*1e6)) * time.Microsecond
	return &d
}

// number takes any number.
func (o *object) number(name string) *float64 {
	n := as[json.Number](o, name, "a number")
	if n == nil {
		return nil
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		o.refuse(name, "must be a number of a sensible size, got %s", cut(n.String()))
		return nil
	}
	return &f
}

// moment takes a time.
func (o *object) moment(name string) time.Time {
	s := as[string](o, name, wantTime)
	if s == nil {
		return time.Time{}
	}
	t, err := parseTime(*s)
	if err != nil {
		o.refuse(name, "%v", err)
	}
	return t
}

// wantTime describes the form of a time.
const wantTime = "a time such as 2024-01-15T11:45:00Z"

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return time.Time{}, fmt.Errorf("must be %s, got %q", wantTime, cut(s))
	}
	return t.UTC(), nil
}

// headers takes an object of strings. Null, or the mask shown in place of a
// value, stands for the stored value.
func (o *object) headers(name string) map[string]string {
	fields := as[map[string]any](o, name, "an object of strings")
	if fields == nil {
		return nil
	}
	out := make(map[string]string, len(*fields))
	for _, header := range sortedKeys(*fields) { // the same request gets the same answer
		switch v := (*fields)[header].(type) {
		case string:
			out[header] = v
		case nil:
			out[header] = webhook.HiddenValue
		default:
			o.refuse(fmt.Sprintf("%s[%q]", name, cut(header)), "must be a string, got %s", kindOfJSON(v))
		}
	}
	return out
}

// done refuses the fields that were not taken, and returns all errors.
func (o *object) done(readOnly ...string) error {
	var odd []string
	for name := range o.fields {
		if !slices.Contains(o.taken, name) {
			odd = append(odd, name)
		}
	}
	slices.Sort(odd)
	known := strings.Join(o.taken, ", ")
	for _, name := range odd {
		if slices.Contains(readOnly, name) {
			o.refuse(name, "can be read and not written: leave it out")
		} else {
			o.refuse(name, "is unknown here: known are %s", known)
		}
	}
	return o.err()
}

func kindOfJSON(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}
