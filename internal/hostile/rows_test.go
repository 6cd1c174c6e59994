package hostile

import (
	"net"
	"strings"
	"time"
)

// limit is the timeout of the webhooks of hostile receivers.
const limit = 2 * time.Second

// A row of the catalogue is one way to be a bad receiver, and what the log has to
// say of it.
type row struct {
	name string // its number and what it does
	kind kind
	// serve treats one connection, above TLS where the kind has it.
	serve func(*visit)
	// settings and react are the row of an HTTP/2 receiver, see serveHTTP2.
	settings []byte
	early    bool
	react    func(*h2visit, uint32)
	// prepare is the row of a listener that accepts nothing.
	prepare func(net.Listener) error

	// want is what attempts may end with, separated by blanks: ok, a status that
	// is a failure, or a class of the log. What has a + before it has to occur.
	want string

	listen  string            // where it listens; empty: 127.0.0.1 and any port
	alsoOn  string            // a second address with the same port
	dns     func() answerFunc // nil: the address it listens on
	headers map[string]string // of the webhook
	copies  int               // how often one attempt may arrive: a receiver that says it did not process the request is asked again; 0: once
	delay   time.Duration     // the least delay before a retry, where Retry-After asks for one
	check   func(seen) string // what else has to hold of each attempt; empty: all is well
}

// rows are the catalogue, filled by the files of rows.
var rows []row

func rowsByName() map[string]*row {
	byName := map[string]*row{"healthy": {name: "healthy", kind: healthy}}
	for i := range rows {
		byName[rows[i].name] = &rows[i]
	}
	return byName
}

// outcomes returns what attempts may end with, and which of it has to occur.
func (r *row) outcomes() (may, must []string) {
	for word := range strings.FieldsSeq(r.want) {
		bare := strings.TrimPrefix(word, "+")
		may = append(may, bare)
		if bare != word {
			must = append(must, bare)
		}
	}
	if len(may) == 1 {
		must = may
	}
	return may, must
}

// answers is a receiver that answers every request with the same text.
func answers(text string) func(*visit) {
	return func(v *visit) {
		for v.next() && v.say(text) {
		}
	}
}

// once answers one request and then does something.
func once(then func(*visit)) func(*visit) {
	return func(v *visit) {
		if v.next() {
			then(v)
		}
	}
}
