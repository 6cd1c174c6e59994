package portal

import (
	"net/http"
	"strconv"
	"strings"
)

// An ETag names the version of a webhook's settings. What attempts change, such
// as lastTriggeredAt, changes none.

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// errNoIfMatch asks for the header that keeps two editors apart.
var errNoIfMatch error = &problemError{newProblem(http.StatusPreconditionRequired, codeNeedsIfMatch,
	"Send If-Match with the ETag of the webhook as you read it, so that no one else's change is lost; or If-Match: * to change whatever is there.")}

// errPrecondition is the answer to an If-Match that does not hold.
var errPrecondition error = &problemError{newProblem(http.StatusPreconditionFailed, codeChanged,
	"Someone else changed the webhook since you read it. Read it again, and apply your change to what is there now.")}

// ifMatch returns the versions that If-Match names; whatever is true for "*", or
// where there is no such header.
func ifMatch(r *http.Request) (versions []int64, whatever bool, err error) {
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return nil, true, nil
	}
	all := strings.Join(values, ",")
	if strings.TrimSpace(all) == "*" {
		return nil, true, nil
	}
	for tag := range strings.SplitSeq(all, ",") {
		tag = strings.TrimSpace(tag)
		if strings.HasPrefix(tag, `W/"`) {
			continue // a weak one never matches
		}
		inner, ok := strings.CutPrefix(tag, `"`)
		inner, ok2 := strings.CutSuffix(inner, `"`)
		if !ok || !ok2 || strings.Contains(inner, `"`) {
			return nil, false, refuse(http.StatusBadRequest, codeMalformed, "If-Match is a list of ETags, each in quotes, or *.")
		}
		if v, err := strconv.ParseInt(inner, 10, 64); err == nil && v > 0 && etag(v) == tag {
			versions = append(versions, v)
		}
	}
	return versions, false, nil
}
