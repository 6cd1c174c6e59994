package ecmajson

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// row is one document and its expected result: want, or an error of a kind.
type row struct {
	name string
	src  string
	want string
	err  error
}

// tableVA holds the rows of table V-A of the reliability list: documents that Go
// writes in another way than JavaScript writes them back. (Row 18, values that are
// not JSON at all, is TestAppendFloat_RefusesWhatJSONLacks.)
var tableVA = []row{
	{name: "1 HTML", src: `{"h":"<a>&\u003c\u003e\u0026"}`, want: `{"h":"<a>&<>&"}`},
	{name: "2 line separators escaped", src: `["\u2028\u2029"]`, want: "[\"\u2028\u2029\"]"},
	{name: "2 line separators raw", src: "[\"\u2028\u2029\"]", want: "[\"\u2028\u2029\"]"},
	{name: "3 trailing newline", src: "{\"a\":1}\n", want: `{"a":1}`},
	{name: "4 invalid UTF-8, escaped by Go", src: `["\ufffd"]`, want: "[\"\uFFFD\"]"},
	{name: "5 invalid UTF-8, raw", src: "[\"a\xffb\"]", want: "[\"a\uFFFDb\"]"},
	{name: "6 negative zero", src: `[-0,-0.0,-0e5,-0E-99]`, want: `[0,0,0,0]`},
	{name: "7 int64", src: `[9223372036854775807]`, err: ErrNumber},
	{name: "7 uint64", src: `[18446744073709551615]`, err: ErrNumber},
	{name: "7 beyond 2^53", src: `[9007199254740993]`, err: ErrNumber},
	{name: "7 up to 2^53", src: `[9007199254740991,-9007199254740992,9007199254740994]`,
		want: `[9007199254740991,-9007199254740992,9007199254740994]`},
	{name: "8 spellings", src: `[1.0,1e2,1E+2,0.10,0.1e1,0.0000001,1000000000000000000000,1e21]`,
		want: `[1,100,100,0.1,1,1e-7,1e+21,1e+21]`},
	{name: "8 long fraction", src: `[0.10000000000000001,3.1415926535897931]`, want: `[0.1,3.141592653589793]`},
	{name: "8 fraction too long", src: `[3.14159265358979323846264338327950288]`, err: ErrNumber},
	{name: "9 1e400", src: `[1e400]`, err: ErrNumber},
	{name: "9 just too large", src: `[1.7976931348623159e308]`, err: ErrNumber},
	{name: "9 1e-400", src: `[1e-400]`, err: ErrNumber},
	{name: "9 just too small", src: `[2e-324]`, err: ErrNumber},
	{name: "10 integer-like keys", src: `{"b":1,"10":2,"01":3,"2":4,"-1":5,"1.5":6,"4294967295":7,"4294967294":8,"0":9}`,
		want: `{"0":9,"2":4,"10":2,"4294967294":8,"b":1,"01":3,"-1":5,"1.5":6,"4294967295":7}`},
	{name: "11 duplicate keys", src: `{"a":1,"b":2,"a":3}`, want: `{"a":3,"b":2}`},
	{name: "12 escapes", src: `["\/\u0041\u00e9\u0008\u007f\u001F\ud83d\ude00"]`,
		want: "[\"/A\u00e9\\b\x7f\\u001f\U0001F600\"]"},
	{name: "13 lone surrogate", src: `["\uD83D"]`, want: `["\ud83d"]`},
	{name: "13 lone surrogate before a letter", src: `["\ud83d\u0041"]`, want: `["\ud83dA"]`},
	{name: "14 white space", src: " {\t\"a\" : [ 1 ,\r\n2 ] } ", want: `{"a":[1,2]}`},
	{name: "15 BOM", src: "\xef\xbb\xbf{}", err: ErrSyntax},
	{name: "16 nesting allowed", src: strings.Repeat("[", 256) + strings.Repeat("]", 256),
		want: strings.Repeat("[", 256) + strings.Repeat("]", 256)},
	{name: "16 nesting refused", src: strings.Repeat("[", 257) + strings.Repeat("]", 257), err: ErrDepth},
	{name: "17 __proto__", src: `{"__proto__":1}`, err: ErrKey},
	{name: "17 other keys of objects", src: `{"constructor":1,"toJSON":2,"":3,"hasOwnProperty":null}`,
		want: `{"constructor":1,"toJSON":2,"":3,"hasOwnProperty":null}`},
	{name: "same floats", src: `[1e+21,1e-7,5e-324,1.7976931348623157e+308]`,
		want: `[1e+21,1e-7,5e-324,1.7976931348623157e+308]`},
	{name: "same characters", src: "[\"\\b\\f\\n\\r\\t\\u000b\x7f\ufffe\U0001F600\"]",
		want: "[\"\\b\\f\\n\\r\\t\\u000b\x7f\ufffe\U0001F600\"]"},
}

func TestV2_RowsOfTableVA(t *testing.T) { checkRows(t, tableVA) }

func checkRows(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := Append([]byte("before"), []byte(r.src), Limits{})
			if r.err == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if diff := cmp.Diff("before"+r.want, string(got)); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
				return
			}
			if !errors.Is(err, r.err) {
				t.Fatalf("error is %v, output %q; want %v", err, got, r.err)
			}
			if string(got) != "before" {
				t.Errorf("dst is %q after an error", got)
			}
		})
	}
}
