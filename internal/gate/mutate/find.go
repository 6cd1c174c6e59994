package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one change. Its number is what the environment variable selects.
type mutant struct {
	pos  token.Position
	what string // the source and what it becomes
	site int    // the first mutant at the same place: what is traced
}

// finder walks the syntax of one package and collects the mutants together with
// the edits that build all of them in, each behind a call that asks which one is
// meant. Edits are made in the text, so that lines keep their numbers.
type finder struct {
	fset *token.FileSet
	info *types.Info
	pkg  *types.Package

	mutants []mutant

	// Of the file at hand:
	src     []byte
	file    *token.File
	imports map[string]string // name by path
	edits   []edit
	results []*types.Tuple // of the functions around the node at hand
}

// edit replaces src[from:to] by text. Edits only ever nest: what ends at a place
// comes before what starts there, inner ends before outer ones.
type edit struct {
	from, to int
	text     string
	end      bool
}

// rewrite returns the text of a file with all mutants in it.
func (f *finder) rewrite(file *ast.File, src []byte) []byte {
	f.src, f.file, f.edits = src, f.fset.File(file.Pos()), nil
	f.imports = map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if spec.Name != nil {
			f.imports[path] = spec.Name.Name
			continue
		}
		for _, p := range f.pkg.Imports() {
			if p.Path() == path {
				f.imports[path] = p.Name()
			}
		}
	}
	f.node(file)
	// Ends were added inner first, starts outer first: the stable sort keeps that.
	slices.SortStableFunc(f.edits, func(a, b edit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return order(a) - order(b)
	})
	var out bytes.Buffer
	at := 0
	for _, e := range f.edits {
		out.Write(src[at:e.from])
		out.WriteString(e.text)
		at = e.to
	}
	out.Write(src[at:])
	return out.Bytes()
}

func order(e edit) int {
	if e.end {
		return 0
	}
	return 1
}

func (f *finder) offset(p token.Pos) int { return f.file.Offset(p) }

func (f *finder) text(n ast.Node) string {
	return strings.Join(strings.Fields(string(f.src[f.offset(n.Pos()):f.offset(n.End())])), " ")
}

// add notes a mutant and returns its number.
func (f *finder) add(n ast.Node, format string, args ...any) int {
	f.mutants = append(f.mutants, mutant{pos: f.fset.Position(n.Pos()), what: fmt.Sprintf(format, args...), site: len(f.mutants)})
	return len(f.mutants) - 1
}

// also notes one more mutant of the place that has number site.
func (f *finder) also(site int, n ast.Node, format string, args ...any) {
	f.mutants[f.add(n, format, args...)].site = site
}

func (f *finder) open(p token.Pos, format string, args ...any) {
	at := f.offset(p)
	f.edits = append(f.edits, edit{from: at, to: at, text: fmt.Sprintf(format, args...)})
}

func (f *finder) close(p token.Pos, text string) {
	at := f.offset(p)
	f.edits = append(f.edits, edit{from: at, to: at, text: text, end: true})
}

// replace puts text in the place of a token.
func (f *finder) replace(p token.Pos, tok token.Token, text string) {
	at := f.offset(p)
	f.edits = append(f.edits, edit{from: at, to: at + len(tok.String()), text: text})
}

// around wraps n in a call, whose further arguments and nodes inside fill in.
func (f *finder) around(n ast.Node, call string, inside func()) {
	f.open(n.Pos(), "%s", call)
	inside()
	f.close(n.End(), ")")
}

func (f *finder) typeOf(e ast.Expr) types.Type {
	if t := f.info.TypeOf(e); t != nil {
		return t
	}
	return types.Typ[types.Invalid]
}

func basic(t types.Type, which types.BasicInfo) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&which != 0
}

// spell returns t as this file can write it.
func (f *finder) spell(t types.Type) (string, bool) {
	ok := true
	text := types.TypeString(types.Default(t), func(p *types.Package) string {
		if p == f.pkg {
			return ""
		}
		name, found := f.imports[p.Path()]
		ok = ok && found
		return name
	})
	return text, ok
}

// node walks everything that is not an expression whose value is used.
func (f *finder) node(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil:
			return false
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.ValueSpec:
			f.exprs(n.Values)
			return false
		case *ast.FuncDecl:
			if n.Body != nil {
				f.function(f.info.Defs[n.Name].Type(), n.Body)
			}
			return false
		case *ast.BlockStmt:
			f.statements(n.List)
			return false
		case *ast.CaseClause:
			f.cases(n.List)
			f.statements(n.Body)
			return false
		case *ast.CommClause:
			if n.Comm != nil {
				f.node(n.Comm)
			}
			f.statements(n.Body)
			return false
		case *ast.ForStmt:
			f.loop(n)
			return false
		case *ast.RangeStmt:
			f.expr(n.X)
			f.node(n.Body)
			return false
		case *ast.TypeSwitchStmt:
			f.node(n.Body)
			return false
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				f.target(e)
			}
			f.exprs(n.Rhs)
			return false
		case *ast.IncDecStmt:
			f.target(n.X)
			return false
		case *ast.ReturnStmt:
			f.returned(n)
			return false
		case ast.Expr:
			f.expr(n)
			return false
		}
		return true
	})
}

func (f *finder) function(t types.Type, body *ast.BlockStmt) {
	f.results = append(f.results, t.(*types.Signature).Results())
	f.node(body)
	f.results = f.results[:len(f.results)-1]
}

// loop leaves out what would only make it endless: a condition that is true, a
// step that does not happen.
func (f *finder) loop(n *ast.ForStmt) {
	if n.Init != nil {
		f.node(n.Init)
	}
	if n.Cond != nil {
		f.around(n.Cond, fmt.Sprintf("mutFalse__(%d, ", f.add(n.Cond, "loop on %s never entered", f.text(n.Cond))), func() {
			f.operands(n.Cond)
		})
	}
	f.node(n.Body)
}

// statements removes one statement at a time.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		if !removable(s) {
			f.node(s)
			continue
		}
		f.open(s.Pos(), "if mutKeep__(%d) { ", f.add(s, "%s removed", f.text(s)))
		f.statement(s)
		f.close(s.End(), " }")
	}
}

func removable(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		if !ok {
			return true
		}
		name, ok := call.Fun.(*ast.Ident)
		return !ok || name.Name != "panic" // a function may have to end with it
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE
	case *ast.BranchStmt:
		return s.Tok != token.GOTO && s.Tok != token.FALLTHROUGH
	case *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		return true
	}
	return false
}

// statement walks one that may be removed, and mutates what it does.
func (f *finder) statement(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.IncDecStmt:
		other := map[token.Token]string{token.INC: "--", token.DEC: "++"}[s.Tok]
		op := map[token.Token]string{token.INC: "+=", token.DEC: "-="}[s.Tok]
		if t, ok := f.spell(f.typeOf(s.X)); ok {
			f.replace(s.TokPos, s.Tok, fmt.Sprintf(" %s mutMinus__(%d, %s(1))", op, f.add(s, "%s -> %s%s", f.text(s), f.text(s.X), other), t))
		}
		f.target(s.X)
	case *ast.AssignStmt:
		if (s.Tok == token.ADD_ASSIGN || s.Tok == token.SUB_ASSIGN) && basic(f.typeOf(s.Lhs[0]), types.IsInteger) {
			f.target(s.Lhs[0])
			f.around(s.Rhs[0], fmt.Sprintf("mutMinus__(%d, ", f.add(s, "%s: the other sign", f.text(s))), func() { f.typed(s.Rhs[0], f.typeOf(s.Lhs[0])) })
			return
		}
		f.node(s)
	case *ast.DeferStmt:
		f.call(s.Call)
	case *ast.GoStmt:
		f.call(s.Call)
	case *ast.ExprStmt:
		if call, ok := s.X.(*ast.CallExpr); ok {
			f.call(call)
			return
		}
		f.node(s.X)
	default:
		f.node(s)
	}
}

// typed makes sure that an untyped constant has the type t once it is an argument.
func (f *finder) typed(e ast.Expr, t types.Type) {
	if text, ok := f.spell(t); ok && f.info.Types[e].Value != nil {
		f.around(e, text+"(", func() {})
		return
	}
	f.expr(e)
}

// target walks what is assigned to: only what it is indexed by has a value.
func (f *finder) target(e ast.Expr) {
	switch e := e.(type) {
	case *ast.IndexExpr:
		f.target(e.X)
		f.expr(e.Index)
	case *ast.SelectorExpr:
		f.target(e.X)
	case *ast.StarExpr:
		f.target(e.X)
	case *ast.ParenExpr:
		f.target(e.X)
	case *ast.Ident:
	default:
		f.expr(e)
	}
}

// cases mutates what a case compares with.
func (f *finder) cases(list []ast.Expr) {
	for _, e := range list {
		v := f.info.Types[e]
		if v.Value != nil && v.Value.Kind() == constant.String {
			if t, ok := f.spell(v.Type); ok {
				f.around(e, fmt.Sprintf("mutText__(%d, %s(", f.add(e, "case %s never taken", f.text(e)), t), func() {})
				f.close(e.End(), ")")
				continue
			}
		}
		f.expr(e)
	}
}

// returned mutates results: each becomes the zero of its type.
func (f *finder) returned(s *ast.ReturnStmt) {
	results := f.results[len(f.results)-1]
	if len(s.Results) != results.Len() {
		f.exprs(s.Results)
		return
	}
	for i, e := range s.Results {
		want := results.At(i).Type()
		v := f.info.Types[e]
		t, ok := f.spell(want)
		if !ok || v.IsNil() || basic(want, types.IsBoolean) || v.Value != nil && v.Value.Kind() != constant.String || f.text(e) == `""` {
			f.expr(e)
			continue
		}
		f.around(e, fmt.Sprintf("mutZero__[%s](%d, ", t, f.add(e, "return %s -> the zero value", f.text(e))), func() { f.expr(e) })
	}
}
