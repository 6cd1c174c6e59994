package rules

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed68722ecd/webhook/internal/gate/gofiles"
)

// CheckCorpora looks at every fuzz target below dir, those of nested modules too,
// and reports the ones without inputs in testdata/fuzz beside them (G2). targets is
// the number of targets looked at.
func CheckCorpora(dir string) (found []string, targets int, err error) {
	tests := func(rel string) bool { return strings.HasSuffix(rel, "_test.go") }
	err = gofiles.Parse(dir, tests, func(rel string, file *ast.File) {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			targets++
			corpus := filepath.Join(dir, filepath.Dir(rel), "testdata", "fuzz", fn.Name.Name)
			if inputs, err := os.ReadDir(corpus); err != nil || len(inputs) == 0 {
				found = append(found, fmt.Sprintf("%s: %s has no corpus in testdata/fuzz", rel, fn.Name.Name))
			}
		}
	})
	if err != nil {
		return nil, targets, fmt.Errorf("rules: %w", err)
	}
	return found, targets, nil
}
