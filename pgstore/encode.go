package pgstore

import (
	"encoding/json"
	"strconv"
)

// Arrays travel as PostgreSQL array literals in text, which every driver can
// pass and the server casts: a driver's own array types would tie the package
// to that driver. Payloads travel as one bytea with an array of lengths: text
// would double their size.

// intArray builds a literal such as {1,2,3}.
type intArray struct{ b []byte }

func (a *intArray) add(v int64) {
	if len(a.b) == 0 {
		a.b = append(a.b, '{')
	} else {
		a.b = append(a.b, ',')
	}
	a.b = strconv.AppendInt(a.b, v, 10)
}

func (a *intArray) String() string {
	if len(a.b) == 0 {
		return "{}"
	}
	return string(a.b) + "}"
}

// textArray builds a literal such as {"a","b"}.
type textArray struct{ b []byte }

func (a *textArray) add(s string) {
	a.sep()
	a.b = append(a.b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			a.b = append(a.b, '\\')
		}
		a.b = append(a.b, s[i])
	}
	a.b = append(a.b, '"')
}

// addOrNull adds NULL for the empty string: a null takes no space in a row.
func (a *textArray) addOrNull(s string) {
	if s != "" {
		a.add(s)
		return
	}
	a.sep()
	a.b = append(a.b, "NULL"...)
}

func (a *textArray) sep() {
	if len(a.b) == 0 {
		a.b = append(a.b, '{')
	} else {
		a.b = append(a.b, ',')
	}
}

func (a *textArray) String() string {
	if len(a.b) == 0 {
		return "{}"
	}
	return string(a.b) + "}"
}

// blobs concatenates byte strings. It records the offset of each, counted from 1 as
// for substring, and its length.
type blobs struct {
	data      []byte
	offs, len intArray
}

func (b *blobs) add(p []byte) {
	b.offs.add(int64(len(b.data)) + 1)
	b.len.add(int64(len(p)))
	b.data = append(b.data, p...)
}

// bytes returns a slice that is never nil, since nil would be NULL.
func (b *blobs) bytes() []byte {
	if b.data == nil {
		return []byte{}
	}
	return b.data
}

// toJSON encodes settings. They are strings and numbers, so this cannot fail.
func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(b)
}

func (a *intArray) addNull() {
	if len(a.b) == 0 {
		a.b = append(a.b, "{NULL"...)
	} else {
		a.b = append(a.b, ",NULL"...)
	}
}
