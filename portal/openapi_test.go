package portal

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The document describes exactly the routes of the API, each with its problems.
func TestTheDocumentDescribesEveryRoute(t *testing.T) {
	x := newSite(t)
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []any }
			}
		}
	}
	r := x.do(asViewer, http.MethodGet, "/api/openapi.json", "").want(http.StatusOK).json(&doc)
	if r.text != string(openAPI) || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %q", doc.OpenAPI)
	}
	var described, routed []string
	for path, methods := range doc.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	for _, rt := range x.s.routes {
		if rt.kind == kindAPI {
			routed = append(routed, rt.method+" "+strings.TrimPrefix(rt.pattern, "api"))
		}
	}
	slices.Sort(described)
	slices.Sort(routed)
	if diff := cmp.Diff(routed, described); diff != "" {
		t.Errorf("-routed +described:\n%s", diff)
	}
	var codes []string
	for _, c := range doc.Components.Schemas["Problem"].Properties["code"].Enum {
		codes = append(codes, c.(string))
	}
	want := []string{
		codeInvalid, codeMalformed, codeUnauthenticated, codeForbidden, codeCrossOrigin, codeNotFound, codeMethod, codeInactive, codeTooMany, codeChanged,
		codeNeedsIfMatch, codeTooLarge, codeMediaType, codeRateLimited, codeBusy, codeAudit, codeInternal,
	}
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("codes (-used +described):\n%s", diff)
	}
}
