package portal

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/seed68722ecd/webhook"
)

// maxRefusals bounds the refused fields in an answer: more would not be read,
// and a body of a megabyte must not cause an answer of several.
const maxRefusals = 20

// refusals collects the refused fields of a request. Fields beyond the bound
// are only counted.
type refusals struct {
	listed []problemField
	more   int
}

// refuse adds a refused field with the reason.
func (r *refusals) refuse(field, format string, args ...any) {
	if len(r.listed) == maxRefusals {
		r.more++
		return
	}
	r.listed = append(r.listed, problemField{cut(field), fmt.Sprintf(format, args...)})
}

// add adds the fields that a check of the dispatcher or of this package has
// refused, and reports whether err is such a refusal.
func (r *refusals) add(err error) bool {
	if v, ok := errors.AsType[*webhook.ValidationError](err); ok {
		for _, f := range v.Fields {
			r.refuse(f.Field, "%s", f.Reason)
		}
		return true
	}
	if p, ok := errors.AsType[*problemError](err); ok && len(p.problem.Errors) > 0 {
		for _, f := range p.problem.Errors {
			r.refuse(f.Field, "%s", f.Reason)
		}
		r.more += p.problem.more
		return true
	}
	return false
}

// err returns all refusals as an error, or nil.
func (r *refusals) err() error {
	if len(r.listed) == 0 {
		return nil
	}
	return &problemError{r.problem()}
}

func (r *refusals) problem() problem {
	p := newProblem(http.StatusBadRequest, codeInvalid, "Some fields were refused; each says why.")
	if r.more > 0 {
		p = newProblem(http.StatusBadRequest, codeInvalid, "%s fields were refused; the first %d say why.", count(len(r.listed)+r.more), len(r.listed))
	}
	p.Errors, p.more = r.listed, r.more
	return p
}

// invalidField refuses one field.
func invalidField(field, format string, args ...any) error {
	var r refusals
	r.refuse(field, format, args...)
	return r.err()
}
