package pgstore

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says where a [Store] keeps its tables. Its zero value works.
type Config struct {
	// Schema holds the tables: a lower-case identifier of at most 63 bytes.
	// Migrate creates it when it is missing. Empty: the first schema of the
	// connection's search_path, usually public.
	Schema string

	// TablePrefix begins the name of every table, index and sequence: a
	// lower-case identifier of at most 32 bytes. Empty: "webhook_".
	TablePrefix string

	// PassedClock makes the time that callers pass in decide which delivery is due
	// and which lease has expired, instead of the database's clock. It is for tests
	// with a clock of their own. In production, processes whose clocks differ would
	// steal one another's leases.
	PassedClock bool

	// EventCache bounds the payloads of recently published events that the Store
	// keeps in memory, in bytes. A process that delivers its own events need not
	// read them back then. 0: 16 MiB; negative: no cache.
	EventCache int

	// PublishTimeout bounds a Publish of one event, whatever deadline the caller's
	// context has. Such calls share transactions. Without a bound, a transaction
	// elsewhere that has taken the event's ID and stays open, or a connection that
	// has gone silent, could block them for ever. The error says whether the event
	// may have been stored. 0: 30 s; negative: no bound.
	PublishTimeout time.Duration
}

// Defaults of Config.
const (
	DefaultTablePrefix = "webhook_"
	DefaultEventCache  = 16 << 20 // bytes

	DefaultPublishTimeout = 30 * time.Second
)

// filled returns c with the defaults in place.
func (c Config) filled() Config {
	if c.TablePrefix == "" {
		c.TablePrefix = DefaultTablePrefix
	}
	if c.EventCache == 0 {
		c.EventCache = DefaultEventCache
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = DefaultPublishTimeout
	}
	return c
}

// check refuses names that are not identifiers without quotes.
func (c Config) check() error {
	return errors.Join(
		identifier("Schema", c.Schema, 63, true),
		identifier("TablePrefix", c.TablePrefix, 32, false),
	)
}

// identifier accepts names that PostgreSQL takes without quotes, so that they are
// the same in psql, in migration tools and here.
func identifier(field, name string, limit int, optional bool) error {
	if name == "" && optional {
		return nil
	}
	if len(name) > limit {
		return fmt.Errorf("field %s of Config is %d bytes long, at most %d are allowed", field, len(name), limit)
	}
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c == '_':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return fmt.Errorf("field %s of Config, %q: use lower-case letters, digits and _ only, and no digit first", field, name)
		}
	}
	return nil
}

var tableNames = []string{
	"webhooks", "subscriptions", "health", "stats", "events", "event_seq", "record_seq",
	"queue", "queue_list", "claims", "deliveries", "attempts", "schema_version",
}

// nowExpr is the Store's clock in microseconds: the time passed as $1, or the
// database's clock when $1 is 0.
const nowExpr = `COALESCE(NULLIF($1::bigint, 0), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)`

// replacer puts the names of c into SQL: {queue} becomes the table's qualified
// name, {prefix} the start of an index's name, {now} the Store's clock.
func (c Config) replacer() *strings.Replacer {
	pairs := []string{"{prefix}", c.TablePrefix, "{now}", nowExpr}
	for _, t := range tableNames {
		pairs = append(pairs, "{"+t+"}", c.qualified(c.TablePrefix+t))
	}
	return strings.NewReplacer(pairs...)
}

// qualified puts the schema before a name.
func (c Config) qualified(name string) string {
	if c.Schema == "" {
		return `"` + name + `"`
	}
	return `"` + c.Schema + `"."` + name + `"`
}
