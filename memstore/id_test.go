package memstore

import (
	"bytes"
	"testing"
	"time"
)

// Cursors and delivery IDs come back from whoever was given them: nothing causes a
// panic, and nothing opens that this store has not made in exactly this spelling.
func FuzzCursor(f *testing.F) {
	s := New(Config{})
	at := time.Date(2024, 1, 15, 11, 45, 0, 0, time.UTC)
	for _, c := range []string{
		"", "forged", "=", "\n", s.webhookCursor(at, "wh_1"), s.webhookCursor(time.Time{}, ""), s.posCursor(cursorDeliveries, position{1, 2}), s.prefix + "0000000000001",
	} {
		f.Add(c, []byte(c))
	}
	f.Add(s.posCursor(cursorMissing, position{-1, 0})+"\n", []byte("w12345678"))
	f.Fuzz(func(t *testing.T, cursor string, content []byte) {
		if b, err := s.openCursor(cursor); err == nil && s.sealCursor(bytes.Clone(b)) != cursor {
			t.Errorf("%q opens as %q, which has another spelling", cursor, b)
		}
		if d := s.delivery(cursor); d != nil {
			t.Errorf("%q is a delivery of a store without any", cursor)
		}

		// Also under the store's own seal, as it would be with another list's.
		sealed := s.sealCursor(bytes.Clone(content))
		if b, err := s.openCursor(sealed); (err == nil) != (len(content) >= 9) || err == nil && !bytes.Equal(b, content) {
			t.Errorf("%q sealed opens as %q, %v", content, b, err)
		}
		created, id, err := s.openWebhookCursor(sealed)
		if err == nil && (content[0] != cursorWebhooks || s.webhookCursor(created, id) != sealed) {
			t.Errorf("%q is the webhook cursor of %v, %q", content, created, id)
		}
		list, p, err := s.openPosCursor(sealed)
		if err == nil && (list == cursorWebhooks || s.posCursor(list, p) != sealed) {
			t.Errorf("%q is the cursor of %q, %v", content, list, p)
		}
	})
}
