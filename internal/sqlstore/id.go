// Package sqlstore is shared by the stores on SQL databases: the form of their IDs
// and cursors, times as numbers, and migrations with names put in.
package sqlstore

import (
	"encoding/base32"
	"encoding/binary"
)

// idEncoding is in ASCII order, so that IDs sort as their numbers do.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	idPrefix = "dl_"
	idLength = len(idPrefix) + 26
)

// FormatID returns the ID of the delivery with two positive numbers as its key:
// "dl_" and 26 characters. IDs sort by first, then by second.
func FormatID(first, second int64) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(first))
	binary.BigEndian.PutUint64(raw[8:], uint64(second))
	buf := make([]byte, len(idPrefix), idLength)
	copy(buf, idPrefix)
	return string(idEncoding.AppendEncode(buf, raw[:]))
}

// ParseID is the inverse of FormatID; ok is false for a text that FormatID never
// returns.
func ParseID(id string) (first, second int64, ok bool) {
	if len(id) != idLength || id[:len(idPrefix)] != idPrefix {
		return 0, 0, false
	}
	var raw [16]byte
	if n, err := idEncoding.Decode(raw[:], []byte(id[len(idPrefix):])); err != nil || n != len(raw) {
		return 0, 0, false
	}
	first, second = int64(binary.BigEndian.Uint64(raw[:8])), int64(binary.BigEndian.Uint64(raw[8:]))
	// The last character has spare bits: only one of its spellings is valid.
	return first, second, first > 0 && second > 0 && idEncoding.EncodeToString(raw[:]) == id[len(idPrefix):]
}
