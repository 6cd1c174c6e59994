package sqlstore

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// Cursor encodes numbers and a text as an opaque text. kind is the kind of list
// that the cursor belongs to.
func Cursor(kind byte, text string, nums ...int64) string {
	b := []byte{kind}
	for _, n := range nums {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return base64.RawURLEncoding.EncodeToString(append(b, text...))
}

// ParseCursor is the inverse of Cursor for a list whose cursors hold n numbers; ok
// is false for any other text.
func ParseCursor(kind byte, n int, s string) (nums []int64, text string, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") || len(b) < 1+8*n || b[0] != kind { // encoding/base64 skips line breaks
		return nil, "", false
	}
	b = b[1:]
	for range n {
		nums = append(nums, int64(binary.BigEndian.Uint64(b)))
		b = b[8:]
	}
	return nums, string(b), true
}
