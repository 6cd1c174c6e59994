package verify_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/verify"
)

type vector struct {
	Name      string `json:"name"`
	Secret    string `json:"secret"`
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"`
	Body      string `json:"body"`
	Repeat    int    `json:"repeat"`
	Plain     string `json:"plain"`
	V1        string `json:"v1"`
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 40 {
		t.Fatalf("%d vectors, want at least 40", len(vs))
	}
	for i := range vs {
		if vs[i].Repeat > 0 {
			vs[i].Body = strings.Replace(vs[i].Body, "%s", strings.Repeat("a", vs[i].Repeat), 1)
		}
	}
	return vs
}

func TestV5_KnownAnswers(t *testing.T) {
	for _, vec := range readVectors(t) {
		t.Run(vec.Name+"/"+vec.Secret[:6], func(t *testing.T) {
			sentAt := time.Unix(vec.Timestamp, 0)
			v := mustNew(t, verify.Config{
				AllowPlain: true,
				AnyBody:    true,
				Now:        func() time.Time { return sentAt.Add(3 * time.Second) },
			}, vec.Secret)
			standard := http.Header{}
			standard.Set("webhook-id", vec.ID)
			standard.Set("webhook-timestamp", unix(sentAt))
			standard.Set("webhook-signature", "v1,"+vec.V1)
			for name, h := range map[string]http.Header{"standard": standard, "plain": plainHeader(vec.Plain)} {
				d, err := v.Verify([]byte(vec.Body), h)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if string(d.Body) != vec.Body {
					t.Fatalf("%s: Body differs from what was signed", name)
				}
				if strings.HasPrefix(vec.Body, `{"event"`) && d.Type == "" {
					t.Errorf("%s: the envelope was not read", name)
				}
				// One flipped bit anywhere is refused.
				for _, i := range []int{0, len(vec.Body) / 2, len(vec.Body) - 1} {
					if i < 0 || i >= len(vec.Body) {
						continue
					}
					bad := []byte(vec.Body)
					bad[i] ^= 1
					if _, err := v.Verify(bad, h); !errors.Is(err, verify.ErrSignatureMismatch) {
						t.Fatalf("%s: byte %d flipped: %v, want ErrSignatureMismatch", name, i, err)
					}
				}
				if _, err := v.Verify([]byte(vec.Body+" "), h); err == nil {
					t.Fatalf("%s: accepted with a space appended", name)
				}
			}
		})
	}
}

// The vectors that Standard Webhooks publishes.
func TestV5_PublishedVectors(t *testing.T) {
	const second = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	for _, tt := range []struct {
		name, secret, public, id string
		stamp                    int64
		body, signature          string
		scheme                   verify.Scheme
	}{
		{"prefixed", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, `{"email":"test@example.com","username":"test_user"}`, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", verify.SchemeV1},
		{"no prefix", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", verify.SchemeV1},
		{"asymmetric", "", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`, second, verify.SchemeV1a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := verify.Config{AnyBody: true, Now: func() time.Time { return time.Unix(tt.stamp, 0) }}
			var secrets []string
			if tt.secret != "" {
				secrets = append(secrets, tt.secret)
			}
			if tt.public != "" {
				cfg.PublicKeys = []string{tt.public}
			}
			v := mustNew(t, cfg, secrets...)
			h := http.Header{}
			h.Set("webhook-id", tt.id)
			h.Set("webhook-timestamp", unix(time.Unix(tt.stamp, 0)))
			h.Set("webhook-signature", tt.signature)
			d, err := v.Verify([]byte(tt.body), h)
			if err != nil {
				t.Fatal(err)
			}
			if d.Scheme != tt.scheme || d.ID != tt.id || d.SentAt.Unix() != tt.stamp {
				t.Errorf("got scheme %q, ID %q, sent at %v", d.Scheme, d.ID, d.SentAt)
			}
			if _, err := v.Verify([]byte(tt.body+"\n"), h); !errors.Is(err, verify.ErrSignatureMismatch) {
				t.Errorf("with a line break appended: %v, want ErrSignatureMismatch", err)
			}
			h.Set("webhook-id", tt.id+"x")
			if _, err := v.Verify([]byte(tt.body), h); !errors.Is(err, verify.ErrSignatureMismatch) {
				t.Errorf("with another ID: %v, want ErrSignatureMismatch", err)
			}
		})
	}
}
