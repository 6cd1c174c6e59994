package portal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook"
)

// An ETag of a webhook is the version of its settings and, once there have been
// attempts, a dot and a hash of what these change, such as lastTriggeredAt: two
// answers of one tag are the same. Writing goes by the version alone: an attempt
// takes nothing away from who edits.

// etagOf returns the ETag of a webhook as it is shown.
func etagOf(wh webhook.Webhook, v webhookView) string {
	rate := ""
	if v.SuccessRate != nil {
		rate = strconv.FormatFloat(*v.SuccessRate, 'g', -1, 64)
	}
	if wh.LastTriggeredAt.IsZero() && wh.LastSuccessAt.IsZero() && wh.FailingSince.IsZero() && rate == "" && v.URL == wh.URL {
		return etag(strconv.FormatInt(wh.Version, 10))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %s %t", wh.LastTriggeredAt.UnixNano(), wh.LastSuccessAt.UnixNano(), wh.FailingSince.UnixNano(), rate, v.URL == wh.URL))
	return etag(strconv.FormatInt(wh.Version, 10) + "." + hex.EncodeToString(sum[:6]))
}

func etag(opaque string) string { return `"` + opaque + `"` }

// errNoIfMatch asks for the header that keeps two editors apart.
var errNoIfMatch error = &problemError{newProblem(http.StatusPreconditionRequired, codeNeedsIfMatch,
	"Send If-Match with the ETag of the webhook as you read it, so that no one else's change is lost; or If-Match: * to change whatever is there.")}

// errPrecondition is the answer to an If-Match that does not hold.
var errPrecondition error = &problemError{newProblem(http.StatusPreconditionFailed, codeChanged,
	"Someone else changed the webhook since you read it. Read it again, and apply your change to what is there now.")}

// errThere is the answer to an If-None-Match that names what is there.
var errThere error = &problemError{newProblem(http.StatusPreconditionFailed, codeChanged,
	"The webhook is there, as the ETags of If-None-Match say it should not be.")}

// entityTag is one of the ETags of a condition.
type entityTag struct {
	opaque string
	weak   bool
}

// entityTags reads an If-Match or an If-None-Match: a list of ETags, in which a
// comma may be part of one, or "*".
func entityTags(h http.Header, name string) (tags []entityTag, whatever bool, err error) {
	rest := strings.TrimSpace(strings.Join(h.Values(name), ","))
	if rest == "*" {
		return nil, true, nil
	}
	for more := true; more; {
		var t entityTag
		rest, t.weak = strings.CutPrefix(strings.TrimLeft(rest, " \t"), "W/")
		inner, ok := strings.CutPrefix(rest, `"`)
		end := strings.IndexByte(inner, '"')
		if !ok || end < 0 {
			return nil, false, errMalformedTags(name)
		}
		t.opaque = inner[:end]
		tags = append(tags, t)
		rest = strings.TrimLeft(inner[end+1:], " \t")
		if rest, more = strings.CutPrefix(rest, ","); !more && rest != "" {
			return nil, false, errMalformedTags(name)
		}
	}
	return tags, false, nil
}

func errMalformedTags(name string) error {
	return refuse(http.StatusBadRequest, codeMalformed, "%s is a list of ETags, each in quotes, or *.", name)
}

// version returns the version that a tag of a webhook names; 0 where it names none.
func (t entityTag) version() int64 {
	number, state, dotted := strings.Cut(t.opaque, ".")
	if _, err := hex.DecodeString(state); dotted && (state == "" || err != nil) {
		return 0
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v <= 0 || strconv.FormatInt(v, 10) != number {
		return 0
	}
	return v
}

// matched evaluates the conditions of a write, and returns the version of the
// webhook that If-Match names, or 0 where it names any or is not there. Weak tags
// never match in it, RFC 9110 says; in If-None-Match they do.
func matched(r *http.Request, wh webhook.Webhook) (version int64, err error) {
	if len(r.Header.Values("If-Match")) > 0 {
		tags, whatever, err := entityTags(r.Header, "If-Match")
		if err != nil {
			return 0, err
		}
		for _, t := range tags {
			if !t.weak && t.version() == wh.Version {
				version = wh.Version
			}
		}
		if version == 0 && !whatever {
			return 0, errPrecondition
		}
	}
	if len(r.Header.Values("If-None-Match")) > 0 {
		tags, whatever, err := entityTags(r.Header, "If-None-Match")
		if err != nil {
			return 0, err
		}
		for _, t := range tags {
			whatever = whatever || t.version() == wh.Version
		}
		if whatever {
			return 0, errThere
		}
	}
	return version, nil
}

// notModified sets the ETag of an answer to GET, and answers with 304 when the
// client has the same already.
func notModified(w http.ResponseWriter, r *http.Request, tag string) (bool, error) {
	if len(r.Header.Values("If-None-Match")) == 0 {
		w.Header().Set("ETag", tag)
		return false, nil
	}
	tags, whatever, err := entityTags(r.Header, "If-None-Match")
	if err != nil {
		return false, err
	}
	w.Header().Set("ETag", tag)
	for _, t := range tags {
		whatever = whatever || etag(t.opaque) == tag
	}
	if whatever {
		w.WriteHeader(http.StatusNotModified)
	}
	return whatever, nil
}
