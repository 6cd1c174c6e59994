package webhook

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"
)

// Every exported name is documented, fields and methods included, since the
// documentation is all that most people ever see of the package.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/seed68722ecd/webhook")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	want := func(kind, name, text string) {
		t.Helper()
		looked++
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s %s has no comment", kind, name)
		}
	}
	want("package", pkg.Name, pkg.Doc)
	values := func(vs []*doc.Value) {
		for _, v := range vs {
			for _, spec := range v.Decl.Specs {
				s, _ := spec.(*ast.ValueSpec)
				for _, n := range s.Names {
					if n.IsExported() {
						want("value", n.Name, v.Doc+s.Doc.Text()+s.Comment.Text())
					}
				}
			}
		}
	}
	funcs := func(of string, fs []*doc.Func) {
		for _, f := range fs {
			want("function", of+f.Name, f.Doc)
			if len(f.Doc) > 0 && !strings.HasPrefix(f.Doc, f.Name+" ") {
				t.Errorf("the comment of %s%s does not begin with its name", of, f.Name)
			}
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	funcs("", pkg.Funcs)
	for _, typ := range pkg.Types {
		want("type", typ.Name, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
	}
	// A field that has a comment in one struct means the same in the others.
	known := make(map[string]string)
	for _, check := range []func(kind, name, text string){nil, want} {
		for _, typ := range pkg.Types {
			for _, spec := range typ.Decl.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok {
					members(s, check, known)
				}
			}
		}
	}
	if looked < 300 {
		t.Errorf("looked at %d names only", looked)
	}
}

// members checks the fields of a struct and the methods of an interface.
func members(s *ast.TypeSpec, want func(kind, name, text string), known map[string]string) {
	var list *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return
	}
	for _, f := range list.List {
		text := f.Doc.Text() + f.Comment.Text()
		for _, n := range f.Names {
			if !n.IsExported() {
				continue
			}
			key := n.Name + " " + strings.TrimPrefix(types.ExprString(f.Type), "*")
			if want == nil {
				known[key] += text
			} else {
				want("member", s.Name.Name+"."+n.Name, known[key])
			}
		}
	}
}
