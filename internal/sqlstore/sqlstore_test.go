package sqlstore_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/internal/sqlstore"
)

func TestIDsParseBackAndSortByNumber(t *testing.T) {
	keys := [][2]int64{{1, 1}, {1, 2}, {1, math.MaxInt64}, {2, 1}, {255, 256}, {math.MaxInt64, 1}, {math.MaxInt64, math.MaxInt64}}
	var ids []string
	for _, k := range keys {
		id := sqlstore.FormatID(k[0], k[1])
		if a, b, ok := sqlstore.ParseID(id); !ok || a != k[0] || b != k[1] {
			t.Errorf("%v became %d, %d, %v", k, a, b, ok)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("not in order: %v", ids)
	}
	good := ids[4]
	for _, id := range []string{
		"", "missing", good[:28], good + "0", "dm_" + good[3:], strings.ToUpper(good), good[:28] + "u", good[:28] + "1",
		sqlstore.FormatID(0, 1), sqlstore.FormatID(1, 0), sqlstore.FormatID(-1, 1), sqlstore.FormatID(1, -1),
	} {
		if a, b, ok := sqlstore.ParseID(id); ok {
			t.Errorf("%q was taken for %d, %d", id, a, b)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sqlstore.FormatID(12345, 678))
	f.Add(sqlstore.Cursor('d', "", 1, 2, 3))
	f.Add(sqlstore.Cursor('w', "wh_1", -5))
	f.Add(sqlstore.Cursor('w', "wh_1", -5) + "\n")
	f.Fuzz(func(t *testing.T, s string) {
		if a, b, ok := sqlstore.ParseID(s); ok && sqlstore.FormatID(a, b) != s {
			t.Errorf("%q is not the ID of %d, %d", s, a, b)
		}
		if nums, text, ok := sqlstore.ParseCursor('w', 1, s); ok && sqlstore.Cursor('w', text, nums...) != s {
			t.Errorf("%q is not the cursor of %v, %q", s, nums, text)
		}
	})
}

func TestCursorsOfOtherListsAreRefused(t *testing.T) {
	c := sqlstore.Cursor('w', "wh_1", -5)
	nums, text, ok := sqlstore.ParseCursor('w', 1, c)
	if !ok || text != "wh_1" || !slices.Equal(nums, []int64{-5}) {
		t.Errorf("got %v, %q, %v", nums, text, ok)
	}
	for name, try := range map[string]struct {
		kind byte
		n    int
		s    string
	}{
		"of another list":      {'d', 1, c},
		"with too few numbers": {'w', 2, c},
		"not base64":           {'w', 1, "?"},
		"without a number":     {'w', 1, sqlstore.Cursor('w', "")},
		"with spare bits":      {'w', 0, "dx"},
	} {
		if _, _, ok := sqlstore.ParseCursor(try.kind, try.n, try.s); ok {
			t.Errorf("a cursor %s was accepted", name)
		}
	}
}

func TestMicrosKeepTheTime(t *testing.T) {
	if got := sqlstore.Micros(time.Time{}); got != 0 || !sqlstore.FromMicros(0).IsZero() {
		t.Errorf("the zero time is %d", got)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	if got := sqlstore.FromMicros(sqlstore.Micros(at)); !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("%v became %v", at, got)
	}
}
