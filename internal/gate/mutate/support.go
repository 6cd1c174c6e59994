package main

import "fmt"

// supportFile is added to the package. The names end in __ so that they meet no
// others. A mutant that was reached is written, once, to the file that is named by
// MUTANT_TRACE.
const supportFile = "mutate_support__.go"

func supportText(pkg string, mutants int) string {
	return fmt.Sprintf(support, pkg, mutants+2)
}

const support = `package %s

import (
	"cmp"
	"os"
	"strconv"
	"sync/atomic"
)

var mutActive__ = func() int {
	n, err := strconv.Atoi(os.Getenv("MUTANT"))
	if err != nil {
		return -1
	}
	return n
}()

var mutTrace__ = func() *os.File {
	name := os.Getenv("MUTANT_TRACE")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	return f
}()

var mutReached__ [%d]atomic.Bool

func mutHit__(n int) int {
	if mutTrace__ != nil && !mutReached__[n].Swap(true) {
		mutTrace__.WriteString(strconv.Itoa(n) + "\n")
	}
	return mutActive__ - n
}

func mutKeep__(n int) bool { return mutHit__(n) != 0 }

func mutTruth__[T ~bool](n int, v T) T {
	switch mutHit__(n) {
	case 0:
		return true
	case 1:
		return false
	}
	return v
}

func mutFalse__(n int, v bool) bool { return mutHit__(n) != 0 && v }

func mutNot__[T ~bool](n int, v T) T {
	if mutHit__(n) == 0 {
		return !v
	}
	return v
}

func mutBoth__(n int, x bool, y func() bool) bool {
	if mutHit__(n) == 0 {
		return x || y()
	}
	return x && y()
}

func mutEither__[T any](n int, v, x, y T) T {
	switch mutHit__(n) {
	case 0:
		return x
	case 1:
		return y
	}
	return v
}

func mutAny__(n int, x bool, y func() bool) bool {
	if mutHit__(n) == 0 {
		return x && y()
	}
	return x || y()
}

func mutText__[T ~string](n int, v T) T {
	if mutHit__(n) == 0 {
		return "\x00 no such case"
	}
	return v
}

func mutZero__[T any](n int, v T) T {
	if mutHit__(n) == 0 {
		var zero T
		return zero
	}
	return v
}

func mutList__[S ~[]T, T any](n int, list S) S {
	if i := mutHit__(n); i >= 0 && i < len(list) {
		return append(append(S{}, list[:i]...), list[i+1:]...)
	}
	return list
}

type mutInteger__ interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutInt__[T mutInteger__](n int, v T) T {
	switch mutHit__(n) {
	case 0:
		return v + 1
	case 1:
		return v - 1
	}
	return v
}

func mutMore__[T mutInteger__](n int, v T) T {
	if mutHit__(n) == 0 {
		return v + 1
	}
	return v
}

func mutMinus__[T mutInteger__](n int, v T) T {
	if mutHit__(n) == 0 {
		return -v
	}
	return v
}
`

// operators returns the functions that stand for operators, each with its other.
func operators() string {
	text := ""
	for op, name := range names {
		switch op.String() {
		case "<", "<=", ">", ">=":
			text += fmt.Sprintf(`
func mut%s__[T cmp.Ordered](n int, x, y T) bool {
	if mutHit__(n) == 0 {
		return x %s y
	}
	return x %s y
}
`, name, other[op], op)
		case "&&", "||":
		case "<<", ">>":
			text += fmt.Sprintf(`
func mut%s__[T, U mutInteger__](n int, x T, y U) T {
	if mutHit__(n) == 0 {
		return x %s y
	}
	return x %s y
}
`, name, other[op], op)
		default:
			text += fmt.Sprintf(`
func mut%s__[T mutInteger__](n int, x, y T) T {
	if mutHit__(n) == 0 {
		return x %s y
	}
	return x %s y
}
`, name, other[op], op)
		}
	}
	return text
}
