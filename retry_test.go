package webhook

import (
	"math"
	"testing"
	"time"
)

func TestRetryDelays(t *testing.T) {
	for _, tt := range []struct {
		policy RetryPolicy
		n      int
		want   time.Duration
	}{
		{RetryDelays{}, 1, 0},
		{RetryDelays{time.Second, time.Minute}, 1, time.Second},
		{RetryDelays{time.Second, time.Minute}, 2, time.Minute},
		{RetryDelays{time.Second, time.Minute}, 10, time.Minute},
		{RetryDelays{time.Second}, 0, time.Second},
		// What is not a number is taken for the least that makes sense.
		{ExponentialRetry{Jitter: math.NaN()}, 1, 15 * time.Second},
		{ExponentialRetry{Jitter: -1, Multiplier: math.NaN()}, 5, 15 * time.Second},
		{ExponentialRetry{Jitter: -1}, 3, 4 * time.Minute},
		{ExponentialRetry{Jitter: -1}, 10, 6 * time.Hour},
	} {
		if got := tt.policy.Delay(tt.n); got != tt.want {
			t.Errorf("%#v.Delay(%d) = %v, want %v", tt.policy, tt.n, got, tt.want)
		}
	}
}

func TestH1_EveryRefusedHeaderIsNamed(t *testing.T) {
	rules := settingsRules{canSkipVerify: true}
	_, err := rules.fromSpec(tenant, WebhookSpec{
		Name: "n", URL: "https://h.example.com/", Events: []string{"*"},
		Headers: map[string]string{"Content-Type": "x", "Host": "x", "A b": "x", "X-Good": "x", "X-Bad": "\x00"},
	})
	wantErr(t, err, ErrInvalid, `"Content-Type" is reserved`, `"Host" is reserved`, `"A b"`, `"X-Bad"`)
}
