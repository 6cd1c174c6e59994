package ecmajson

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
)

// member is one "key":value of an open object, by positions in the output.
type member struct {
	off, keyEnd, end int
	index            int64 // of a key that is an array index, else -1
	hash             uint64
}

// dropped marks a member whose value was moved to an earlier member with the same
// key.
const dropped = -1

func (e *encoder) object(i, depth int) int {
	ofConstructor := i == e.constructorAt
	i = e.space(i + 1)
	if i < len(e.src) && e.src[i] == '}' {
		return i + 1
	}
	base := len(e.members)
	// inOrder means that all keys so far are ascending array indices, followed by
	// other keys. The next index must exceed least.
	inOrder, least, others := true, int64(-1), false
	for {
		if i >= len(e.src) || e.src[i] != '"' {
			return e.unexpected(i, "a key")
		}
		m := member{off: e.pos(i)}
		keyAt := i
		if i = e.string(i); i < 0 {
			return i
		}
		if m.off < len(e.dst) {
			e.flush(i) // so that the key is in one piece
		}
		m.keyEnd = e.pos(i)
		key := e.output(m.off, m.keyEnd)
		m.index = arrayIndex(key[1 : len(key)-1])
		switch {
		case m.index < 0:
			others = true
		case others || m.index <= least:
			inOrder = false
		default:
			least = m.index
		}
		constructor := false
		switch {
		case key[1] == '_' && string(key) == `"__proto__"`:
			return e.polluting(m, keyAt, `the key "__proto__" is`)
		case key[1] == 'p' && ofConstructor && string(key) == `"prototype"`:
			return e.polluting(m, keyAt, `the key "prototype" within "constructor" is`)
		case key[1] == 'c':
			constructor = string(key) == `"constructor"`
		}
		at := len(e.members)
		e.members = append(e.members, m)

		i = e.space(i)
		if i >= len(e.src) || e.src[i] != ':' {
			return e.unexpected(i, "a colon")
		}
		i = e.space(i + 1)
		if constructor {
			e.constructorAt = i
		}
		if i = e.value(i, depth); i < 0 {
			return e.inMember(m)
		}
		e.members[at].end = e.pos(i)

		i = e.space(i)
		if i >= len(e.src) {
			return e.unexpected(i, "a comma or }")
		}
		switch e.src[i] {
		case ',':
			i = e.space(i + 1)
			continue
		case '}':
		default:
			return e.unexpected(i, "a comma or }")
		}
		if len(e.members)-base > 1 {
			e.settle(i, e.members[base:], inOrder)
		}
		e.members = e.members[:base]
		return i + 1
	}
}

func (e *encoder) polluting(m member, keyAt int, which string) int {
	e.fail(ErrKey, keyAt, "%s refused by receivers that guard against prototype pollution: rename it", which)
	return e.inMember(m)
}

// arrayIndex returns the value of a key that JavaScript treats as an array index
// and sorts by: a canonical decimal number below 2^32-1. For other keys it returns
// -1.
func arrayIndex(name []byte) int64 {
	if len(name) == 0 || len(name) > 10 || name[0] > '9' || name[0] == '0' && len(name) > 1 {
		return -1
	}
	n := int64(0)
	for _, c := range name {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	if n >= 1<<32-1 {
		return -1
	}
	return n
}

// settle brings the members of an object that ends at src[i] into the order of
// JavaScript, each key once. It changes members.
func (e *encoder) settle(i int, members []member, inOrder bool) {
	first := members[0].off
	if unique := e.mergeDuplicates(members); unique && inOrder {
		return
	}
	members = slices.DeleteFunc(members, func(m member) bool { return m.off == dropped })
	slices.SortStableFunc(members, func(a, b member) int {
		switch {
		case a.index < 0 && b.index < 0:
			return 0
		case a.index < 0:
			return 1
		case b.index < 0:
			return -1
		}
		return cmp.Compare(a.index, b.index)
	})
	e.flush(i)
	e.scratch = e.scratch[:0]
	for n, m := range members {
		if n > 0 {
			e.scratch = append(e.scratch, ',')
		}
		e.scratch = append(e.scratch, e.dst[m.off:m.end]...)
	}
	e.dst = append(e.dst[:first], e.scratch...)
}

// mergeDuplicates moves the value of each repeated key to the place where the key
// came first, and marks the repetition as dropped. It reports whether no key was
// repeated. Keys are compared as they are in the output, where equal JavaScript
// strings have equal bytes.
func (e *encoder) mergeDuplicates(members []member) bool {
	const few = 12 // comparing every pair of so many is quicker than hashing
	if len(members) > few {
		return e.mergeManyDuplicates(members)
	}
	unique := true
	for n := 1; n < len(members); n++ {
		m := &members[n]
		for k := range members[:n] {
			if first := &members[k]; first.off != dropped && e.sameKey(first, m) {
				replace(first, m)
				unique = false
				break
			}
		}
	}
	return unique
}

// seed makes the hash of a key unpredictable, so that a sender cannot choose keys
// that collide.
var seed = maphash.MakeSeed()

func (e *encoder) mergeManyDuplicates(members []member) bool {
	size := 64
	for size < 2*len(members) {
		size *= 2
	}
	if cap(e.table) < size {
		e.table = make([]int, size)
	}
	table := e.table[:size] // of indices into members, plus 1
	clear(table)
	mask := uint64(size - 1)
	unique := true
	for n := range members {
		m := &members[n]
		m.hash = maphash.Bytes(seed, e.output(m.off, m.keyEnd))
		for slot := m.hash & mask; ; slot = (slot + 1) & mask {
			if table[slot] == 0 {
				table[slot] = n + 1
				break
			}
			if first := &members[table[slot]-1]; first.hash == m.hash && e.sameKey(first, m) {
				replace(first, m)
				unique = false
				break
			}
		}
	}
	return unique
}

func (e *encoder) sameKey(a, b *member) bool {
	return a.keyEnd-a.off == b.keyEnd-b.off &&
		bytes.Equal(e.output(a.off, a.keyEnd), e.output(b.off, b.keyEnd))
}

// replace puts later in the place of first.
func replace(first, later *member) {
	first.off, first.keyEnd, first.end = later.off, later.keyEnd, later.end
	later.off = dropped
}
