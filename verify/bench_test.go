package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed68722ecd/webhook/verify"
)

// The cost of a check by the size of the body, with one secret and with both of
// a rotation.
func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		body := strings.Replace(testBody, "hello", strings.Repeat("x", size-len(testBody)), 1)
		h := signedHeader(body, testTime, testSecret)
		for _, secrets := range [][]string{{testSecret}, {testSecret, oldSecret}} {
			b.Run(fmt.Sprintf("%dKiB/secrets=%d", size>>10, len(secrets)), func(b *testing.B) {
				v := mustNew(b, verify.Config{}, secrets...)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify([]byte(body), h); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
