package sqlitestore

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says how a [Store] uses its database. Its zero value works.
type Config struct {
	// TablePrefix begins the name of every table and index: lower-case letters,
	// digits and _, at most 32 bytes. Empty: "webhook_".
	TablePrefix string

	// BusyTimeout is how long a write waits while another process, or another
	// connection of the host, holds the database's write lock. After that it fails
	// with an error wrapping [ErrBusy], and is not stored. 0: 10 s.
	BusyTimeout time.Duration

	// Relaxed commits with synchronous=NORMAL, that is without waiting for the
	// disk. Acknowledged events survive a crash of the process. The loss of power
	// or a crash of the operating system may undo the last transactions. Relaxed
	// also accepts transactions of the host's that commit in this way, see
	// [Store.PublishTx]. False: synchronous=FULL, and such transactions are
	// refused.
	Relaxed bool

	// PassedClock makes the time that callers pass in decide which delivery is due
	// and which lease has expired, instead of the machine's clock. It is for tests
	// with a clock of their own. In production, processes whose clocks differ would
	// steal one another's leases.
	PassedClock bool

	// EventCache bounds the payloads of recently published events that the Store
	// keeps in memory, in bytes. A process that delivers its own events need not
	// read them back then. 0: 16 MiB; negative: no cache.
	EventCache int
}

// Defaults of Config.
const (
	DefaultTablePrefix = "webhook_"
	DefaultBusyTimeout = 10 * time.Second
	DefaultEventCache  = 16 << 20 // bytes
)

// filled returns c with the defaults in place.
func (c Config) filled() Config {
	if c.TablePrefix == "" {
		c.TablePrefix = DefaultTablePrefix
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = DefaultBusyTimeout
	}
	if c.EventCache == 0 {
		c.EventCache = DefaultEventCache
	}
	return c
}

// check refuses invalid settings.
func (c Config) check() error {
	var errs []error
	if len(c.TablePrefix) > 32 {
		errs = append(errs, fmt.Errorf("Config.TablePrefix is %d bytes long, at most 32 are allowed", len(c.TablePrefix)))
	}
	for i, b := range []byte(c.TablePrefix) {
		if b >= 'a' && b <= 'z' || b == '_' || b >= '0' && b <= '9' && i > 0 {
			continue
		}
		errs = append(errs, fmt.Errorf("Config.TablePrefix %q: use lower-case letters, digits and _ only, and no digit first", c.TablePrefix))
		break
	}
	if strings.HasPrefix(c.TablePrefix, "sqlite_") {
		errs = append(errs, fmt.Errorf("Config.TablePrefix %q: SQLite keeps names that begin with sqlite_ for itself", c.TablePrefix))
	}
	if c.BusyTimeout < 0 {
		errs = append(errs, fmt.Errorf("Config.BusyTimeout is %v, it must not be negative", c.BusyTimeout))
	}
	return errors.Join(errs...)
}

var tableNames = []string{
	"schema_version", "counters", "webhooks", "subscriptions", "lanes", "events", "deliveries", "waiting", "claims", "attempts", "stats",
}

// replacer puts the names of c into SQL: {lanes} becomes the table's name,
// {prefix} the start of an index's name.
func (c Config) replacer() *strings.Replacer {
	pairs := []string{"{prefix}", c.TablePrefix}
	for _, t := range tableNames {
		pairs = append(pairs, "{"+t+"}", c.TablePrefix+t)
	}
	return strings.NewReplacer(pairs...)
}
