package rules

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"

	"github.com/seed68722ecd/webhook/internal/gate/gofiles"
)

// CheckIdempotencyKey reports each string in the Go files below dir that names the header Idempotency-Key, or its
// X- form: net/http repeats a POST that has one (H6). Tests may name it, and so may sets of names, whose
// elements are "true". files is the number of files looked at.
func CheckIdempotencyKey(dir string) (found []string, files int, err error) {
	want := func(rel string) bool {
		return !strings.HasSuffix(rel, "_test.go") && !strings.HasPrefix(rel, "internal/gate/")
	}
	err = gofiles.Parse(dir, want, func(rel string, file *ast.File) {
		files++
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				value, ok := n.Value.(*ast.Ident)
				return !ok || value.Name != "true"
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				name := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "x-")
				if err == nil && n.Kind == token.STRING && name == "idempotency-key" {
					found = append(found, fmt.Sprintf("%s: names the header %s, with which net/http sends a POST twice (H6)", rel, text))
				}
			}
			return true
		})
	})
	if err != nil {
		return nil, files, fmt.Errorf("rules: %w", err)
	}
	return found, files, nil
}
