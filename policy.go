package webhook

import "time"

// Policy is what the host's [Config] means for the people who set up webhooks: what
// a page about them has to tell, with every default filled in.
type Policy struct {
	AllowHTTP       bool          // plain http URLs are taken
	UnverifiedTLS   bool          // webhooks may switch TLS verification off
	SecretOverlap   time.Duration // how long an old secret signs after a rotation; 0: not at all
	DisableAfter    time.Duration // how long a webhook may fail before it is disabled; 0: for ever
	Retention       time.Duration // how long finished deliveries are kept; 0: for ever
	MaxEventSize    int           // bytes of an event's data
	MaxWebhooks     int           // of one tenant; 0: any number
	MaxRetryAfter   time.Duration // the longest Retry-After that is obeyed; 0: none is
	QuarantineAfter int           // crashes of its process after which a delivery is set aside
}

// Policy returns what the dispatcher was configured to. It does not change.
func (d *Dispatcher) Policy() Policy {
	return Policy{
		AllowHTTP:       d.cfg.AllowHTTP,
		UnverifiedTLS:   d.rules.canSkipVerify,
		SecretOverlap:   max(d.cfg.SecretOverlap, 0),
		DisableAfter:    max(d.cfg.DisableAfter, 0),
		Retention:       max(d.cfg.Retention, 0),
		MaxEventSize:    d.cfg.MaxEventSize,
		MaxWebhooks:     d.cfg.MaxWebhooks,
		MaxRetryAfter:   max(d.cfg.MaxRetryAfter, 0),
		QuarantineAfter: d.cfg.QuarantineAfter,
	}
}
