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

// A webhook's ETag is the version of its settings and, once there have been
// attempts, a dot and a hash of the fields that attempts change, such as
// lastTriggeredAt. Two answers with the same ETag are equal. Conditions of
// writes compare only the version, so that an attempt does not make an edit
// fail.

// etagOf returns the ETag of an answer that shows the webhook as v.
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

// errNoIfMatch asks for If-Match, which keeps one editor from overwriting the
// changes of another.
var errNoIfMatch error = &problemError{newProblem(http.StatusPreconditionRequired, codeNeedsIfMatch,
	"Send If-Match with the ETag of the webhook as you read it, so that no one else's change is lost; or If-Match: * to change the webhook regardless of its version.")}

// errPrecondition is the answer to an If-Match that does not match.
var errPrecondition error = &problemError{newProblem(http.StatusPreconditionFailed, codeChanged,
	"Someone else changed the webhook since you read it. Read it again, and apply your change to the current version.")}

// errThere is the answer to a write whose If-None-Match matches the webhook.
var errThere error = &problemError{newProblem(http.StatusPreconditionFailed, codeChanged,
	"The webhook exists with an ETag that If-None-Match rules out.")}

// entityTag is one ETag of a condition.
type entityTag struct {
	opaque string
	weak   bool
}

// entityTags parses an If-Match or If-None-Match: a list of ETags, which may
// contain commas, or "*".
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

// version returns the webhook version in the tag, or 0 without a version.
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

// matched evaluates the conditions of a write. It returns the version that
// If-Match names, or 0 if If-Match is "*" or missing. By RFC 9110 weak tags
// never match in If-Match; in If-None-Match they do.
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

// notModified sets the ETag of an answer to GET, and answers with 304 if the
// client has the same version already.
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
