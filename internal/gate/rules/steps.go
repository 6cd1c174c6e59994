package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	// stepPlace is a Go file and functions of it, as a page names them: `file.go`: `f`, `T.g`.
	stepPlace = regexp.MustCompile("`([a-z0-9_/]+\\.go)`:\\s+(`[A-Za-z0-9_.]+`(?:,\\s+`[A-Za-z0-9_.]+`)*)")
	stepName  = regexp.MustCompile("`([A-Za-z0-9_.]+)`")
)

// CheckSteps looks for the functions that a page names in the form `file.go`: `function`, `Type.method`, and reports
// the ones that the file, a path below dir, does not declare. A method may be named without its type. functions is the
// number of functions looked for.
func CheckSteps(dir, page string) (found []string, functions int) {
	declared := map[string]map[string]bool{}
	for _, place := range stepPlace.FindAllStringSubmatch(page, -1) {
		path := place[1]
		names, parsed := declared[path]
		if !parsed {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, filepath.FromSlash(path)), nil, parser.SkipObjectResolution)
			if err != nil {
				found = append(found, fmt.Sprintf("%s: %v", path, err))
			}
			names = functionsOf(file)
			declared[path] = names
		}
		for _, name := range stepName.FindAllStringSubmatch(place[2], -1) {
			functions++
			if names != nil && !names[name[1]] {
				found = append(found, fmt.Sprintf("%s declares no function %s", path, name[1]))
			}
		}
	}
	return found, functions
}

// functionsOf returns the names of a file's functions, and of its methods with and without their type. It returns nil
// for a file that was not parsed.
func functionsOf(file *ast.File) map[string]bool {
	if file == nil {
		return nil
	}
	names := map[string]bool{}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		names[fn.Name.Name] = true
		if fn.Recv != nil {
			names[strings.TrimPrefix(receiver(fn.Recv.List[0].Type), "*")+"."+fn.Name.Name] = true
		}
	}
	return names
}

// receiver returns the type of a receiver without its type parameters.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return "*" + receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
