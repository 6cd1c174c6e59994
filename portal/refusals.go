package portal

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/seed68722ecd/webhook"
)

// maxRefusals bounds the refused fields that an answer lists: nobody reads
// more, and the answer to a megabyte of mistakes must not be many.
const maxRefusals = 20

// refusals collects what is wrong with the fields of a request. What is beyond
// the bound is counted.
type refusals struct {
	listed []problemField
	more   int
}

// refuse notes what is wrong with a field.
func (r *refusals) refuse(field, format string, args ...any) {
	if len(r.listed) == maxRefusals {
		r.more++
		return
	}
	r.listed = append(r.listed, problemField{cut(field), fmt.Sprintf(format, args...)})
}

// add takes over what a check of the dispatcher, or of this package, has refused,
// and reports whether err is such a refusal.
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

// err returns everything that is wrong, or nil.
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
