package ecmajson

import "bytes"

// The methods below read one construct at src[i] and return the position after it,
// or the result of fail. They are called with at most maxDepth arrays and objects
// open.

// document reads all of src and flushes it.
func (e *encoder) document(object bool) bool {
	if bytes.HasPrefix(e.src, []byte("\xef\xbb\xbf")) {
		e.fail(ErrSyntax, 0, "not valid JSON: it starts with a byte order mark: remove it")
		return false
	}
	i := e.space(0)
	if object && i < len(e.src) && e.src[i] != '{' {
		if other := typeAt(e.src[i]); other != "" {
			e.fail(ErrNotObject, i, "the document must be a JSON object, not %s", other)
			return false
		}
	}
	if i = e.value(i, 0); i < 0 {
		return false
	}
	if i = e.space(i); i < len(e.src) {
		e.unexpected(i, "the end")
		return false
	}
	if e.pos(i) > e.limit {
		e.tooLarge(i)
		return false
	}
	e.flush(i)
	return true
}

// typeAt returns the type of the value that starts with c.
func typeAt(c byte) string {
	switch {
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == '-' || '0' <= c && c <= '9':
		return "a number"
	case c == 't' || c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	}
	return ""
}

func (e *encoder) tooLarge(i int) int {
	return e.fail(ErrSize, i, "the document is larger than %d bytes", e.maxBytes)
}

// value reads a value inside depth arrays and objects.
func (e *encoder) value(i, depth int) int {
	if i >= len(e.src) {
		return e.unexpected(i, "a value")
	}
	var j int
	switch c := e.src[i]; c {
	case '{', '[':
		if depth >= e.maxDepth {
			return e.fail(ErrDepth, i, "nested deeper than %d arrays and objects", e.maxDepth)
		}
		if c == '{' {
			return e.object(i, depth+1)
		}
		return e.array(i, depth+1)
	case '"':
		j = e.string(i)
	case 't':
		j = e.word(i, "true")
	case 'f':
		j = e.word(i, "false")
	case 'n':
		j = e.word(i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		j = e.number(i)
	default:
		return e.unexpected(i, "a value")
	}
	// Checked for every scalar, so that the output stays near the limit.
	if e.pos(j) > e.limit && j >= 0 {
		return e.tooLarge(i)
	}
	return j
}

func (e *encoder) word(i int, word string) int {
	if n := len(word); len(e.src)-i >= n && string(e.src[i:i+n]) == word {
		return i + n
	}
	return e.fail(ErrSyntax, i, "not valid JSON: a word that is not %s", word)
}

func (e *encoder) array(i, depth int) int {
	i = e.space(i + 1)
	if i < len(e.src) && e.src[i] == ']' {
		return i + 1
	}
	for n := 0; ; n++ {
		if i = e.value(i, depth); i < 0 {
			return e.inElement(n)
		}
		i = e.space(i)
		if i >= len(e.src) {
			return e.unexpected(i, "a comma or ]")
		}
		switch e.src[i] {
		case ',':
			i = e.space(i + 1)
		case ']':
			return i + 1
		default:
			return e.unexpected(i, "a comma or ]")
		}
	}
}

// space removes white space from the output.
func (e *encoder) space(i int) int {
	if i < len(e.src) && e.src[i] <= ' ' {
		return e.manySpaces(i)
	}
	return i
}

// Separate, so that space, which seldom has white space to remove, is inlined.
//
//go:noinline
func (e *encoder) manySpaces(i int) int {
	j := i
	for j < len(e.src) {
		if c := e.src[j]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			break
		}
		j++
	}
	if j > i {
		e.skip(i, j)
	}
	return j
}
