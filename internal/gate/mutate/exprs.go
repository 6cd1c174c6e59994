package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
)

// other is the operator that takes another one's place.
var other = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.AND: token.OR, token.OR: token.AND, token.XOR: token.AND, token.AND_NOT: token.AND,
	token.SHL: token.SHR, token.SHR: token.SHL,
	token.LAND: token.LOR, token.LOR: token.LAND,
}

// names are those of the functions that stand for operators.
var names = map[token.Token]string{
	token.LSS: "Less", token.LEQ: "LessEqual", token.GTR: "Greater", token.GEQ: "GreaterEqual",
	token.ADD: "Add", token.SUB: "Sub", token.MUL: "Mul", token.QUO: "Quo", token.REM: "Rem",
	token.AND: "And", token.OR: "Or", token.XOR: "Xor", token.AND_NOT: "AndNot",
	token.SHL: "Shl", token.SHR: "Shr",
	token.LAND: "Both", token.LOR: "Any",
}

func (f *finder) exprs(list []ast.Expr) {
	for _, e := range list {
		f.expr(e)
	}
}

// expr mutates an expression whose value is used.
func (f *finder) expr(e ast.Expr) {
	v := f.info.Types[e]
	if v.IsType() || v.IsBuiltin() {
		return
	}
	if v.Value != nil {
		f.constant(e, v)
		return
	}
	if !basic(f.typeOf(e), types.IsBoolean) {
		f.operands(e)
		return
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		f.expr(e.X)
	case *ast.UnaryExpr:
		f.expr(e.X)
	case *ast.BinaryExpr:
		if e.Op == token.LAND || e.Op == token.LOR {
			f.operands(e)
			return
		}
		f.truth(e)
	case *ast.FuncLit:
		f.operands(e)
	default:
		f.truth(e)
	}
}

// truth makes an expression true and false.
func (f *finder) truth(e ast.Expr) {
	n := f.add(e, "%s -> true", f.text(e))
	f.also(n, e, "%s -> false", f.text(e))
	f.around(e, fmt.Sprintf("mutTruth__(%d, ", n), func() { f.operands(e) })
}

// constant mutates a use of one, not its declaration.
func (f *finder) constant(e ast.Expr, v types.TypeAndValue) {
	switch {
	case basic(v.Type, types.IsBoolean):
		f.around(e, fmt.Sprintf("mutNot__(%d, ", f.add(e, "%s -> !%[1]s", f.text(e))), func() {})
	case f.number(e):
		if t, ok := f.spell(v.Type); ok {
			n := f.add(e, "%s -> +1", f.text(e))
			f.also(n, e, "%s -> -1", f.text(e))
			f.around(e, fmt.Sprintf("mutInt__(%d, %s(", n, t), func() {})
			f.close(e.End(), ")")
		}
	}
}

// number reports whether e is a constant whole number.
func (f *finder) number(e ast.Expr) bool {
	v := f.info.Types[e]
	return v.Value != nil && v.Value.Kind() == constant.Int && basic(v.Type, types.IsInteger)
}

// more mutates a constant that something is to be equal to: one less would be one
// more mutant of the same kind.
func (f *finder) more(e ast.Expr) {
	if t, ok := f.spell(f.typeOf(e)); ok {
		f.around(e, fmt.Sprintf("mutMore__(%d, %s(", f.add(e, "%s -> +1", f.text(e)), t), func() {})
		f.close(e.End(), ")")
	}
}

// operands mutates the inside of an expression, and its operator.
func (f *finder) operands(e ast.Expr) {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		f.binary(e)
	case *ast.ParenExpr:
		f.operands(e.X)
	case *ast.UnaryExpr:
		if e.Op == token.AND {
			f.target(e.X)
			return
		}
		f.expr(e.X)
	case *ast.StarExpr:
		f.expr(e.X)
	case *ast.SelectorExpr:
		if _, ok := f.info.Selections[e]; ok {
			f.target(e.X)
		}
	case *ast.IndexExpr:
		if f.info.Types[e.Index].IsType() {
			return
		}
		f.target(e.X)
		f.expr(e.Index)
	case *ast.SliceExpr:
		f.target(e.X)
		for _, at := range []ast.Expr{e.Low, e.High, e.Max} {
			if at != nil {
				f.expr(at)
			}
		}
	case *ast.TypeAssertExpr:
		f.target(e.X)
	case *ast.CallExpr:
		f.call(e)
	case *ast.CompositeLit:
		f.literal(e)
	case *ast.FuncLit:
		f.function(f.typeOf(e), e.Body)
	}
}

func (f *finder) binary(e *ast.BinaryExpr) {
	x, y := f.typeOf(e.X), f.typeOf(e.Y)
	kind := types.BasicInfo(0)
	switch e.Op {
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		kind = types.IsOrdered
	case token.LAND, token.LOR:
		kind = types.IsBoolean
	case token.EQL, token.NEQ:
	default:
		kind = types.IsInteger
	}
	shift := e.Op == token.SHL || e.Op == token.SHR
	if kind == 0 && f.number(e.Y) {
		f.expr(e.X)
		f.more(e.Y)
		return
	}
	if kind == 0 || !basic(x, kind) || !basic(y, kind) || shift && f.info.Types[e.X].Value != nil {
		f.expr(e.X)
		f.expr(e.Y)
		return
	}
	if kind == types.IsOrdered && (f.number(e.X) || f.number(e.Y)) {
		f.expr(e.X) // one more or one less is the same mutant
		f.expr(e.Y)
		return
	}
	n := f.add(e, "%s: %s -> %s", f.text(e), e.Op, other[e.Op])
	f.open(e.Pos(), "mut%s__(%d, ", names[e.Op], n)
	f.expr(e.X)
	f.replace(e.OpPos, e.Op, ",")
	if kind == types.IsBoolean {
		f.open(e.Y.Pos(), "func() bool { return bool(")
	}
	f.expr(e.Y)
	if kind == types.IsBoolean {
		f.close(e.Y.End(), ") }")
	}
	f.close(e.End(), ")")
}

func (f *finder) call(e *ast.CallExpr) {
	switch fun := ast.Unparen(e.Fun).(type) {
	case *ast.SelectorExpr:
		if _, ok := f.info.Selections[fun]; ok {
			f.target(fun.X)
		}
	case *ast.FuncLit:
		f.operands(fun)
	}
	args := e.Args
	if f.info.Types[e.Fun].IsBuiltin() {
		f.builtin(e)
		return
	}
	sig, ok := f.typeOf(e.Fun).Underlying().(*types.Signature)
	if !ok || !sig.Variadic() || e.Ellipsis.IsValid() {
		f.exprs(args)
		return
	}
	// What is only printed is not mutated; of another list, each element is left out.
	fixed := sig.Params().Len() - 1
	f.exprs(args[:fixed])
	elem := sig.Params().At(fixed).Type().(*types.Slice).Elem()
	t, ok := f.spell(elem)
	if _, isAny := elem.Underlying().(*types.Interface); isAny || !ok || len(args)-fixed < 2 {
		return
	}
	n := f.elements(args[fixed:])
	f.open(args[fixed].Pos(), "mutList__(%d, []%s{", n, t)
	f.close(args[len(args)-1].End(), "})...")
}

// elements notes a mutant for each element of a list and returns the first one's number.
func (f *finder) elements(list []ast.Expr) int {
	n := len(f.mutants)
	for _, e := range list {
		f.also(n, e, "%s left out", f.text(e))
	}
	return n
}

func (f *finder) builtin(e *ast.CallExpr) {
	name := ast.Unparen(e.Fun).(*ast.Ident).Name
	switch {
	case name == "make":
		if len(e.Args) == 2 { // a third is about speed only
			f.expr(e.Args[1])
		}
	case (name == "min" || name == "max") && len(e.Args) == 2:
		n := f.add(e, "%s -> %s", f.text(e), f.text(e.Args[0]))
		f.also(n, e, "%s -> %s", f.text(e), f.text(e.Args[1]))
		at := f.offset(e.Fun.Pos())
		text := fmt.Sprintf("mutEither__(%d, %s(", n, name)
		if t, ok := f.spell(f.typeOf(e)); ok {
			// The operands again, as they are, for the two mutants.
			f.edits = append(f.edits, edit{from: at, to: f.offset(e.Lparen) + 1, text: text})
			f.exprs(e.Args)
			f.close(e.End(), fmt.Sprintf(", %s(%s), %s(%s))", t, f.text(e.Args[0]), t, f.text(e.Args[1])))
		}
	default:
		f.exprs(e.Args)
	}
}

func (f *finder) literal(e *ast.CompositeLit) {
	var list []ast.Expr
	keyed := false
	for _, elt := range e.Elts {
		if kv, ok := elt.(*ast.KeyValueExpr); ok {
			elt, keyed = kv.Value, true
		}
		list = append(list, elt)
	}
	if _, ok := f.typeOf(e).Underlying().(*types.Slice); ok && !keyed && len(list) > 1 && e.Type != nil {
		f.open(e.Pos(), "mutList__(%d, ", f.elements(list))
		f.exprs(list)
		f.close(e.End(), ")")
		return
	}
	f.exprs(list)
}
