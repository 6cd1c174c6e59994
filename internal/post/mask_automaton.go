package post

// An automaton finds all occurrences of many texts in one pass (Aho and
// Corasick, 1975). Building takes time and memory in proportion to the texts,
// a pass in proportion to the data: a customer who has a thousand short tokens
// in the headers of a webhook, and a receiver that echoes them, pay no more than
// their bytes.
//
// Node 0 is the root. Nodes have the first of their children, whose siblings
// form a list; the root, where most steps start over, has a table.
type automaton struct {
	root  [256]int32
	nodes []automatonNode
}

type automatonNode struct {
	child, sibling int32
	fail           int32 // the node of the longest proper end of this node's text that is a start of a text
	depth          int32 // length of the node's text
	longest        int32 // length of the longest text that ends here, or 0
	label          byte
}

func newAutomaton(texts []string) *automaton {
	size := 1
	for _, text := range texts {
		size += len(text)
	}
	a := &automaton{nodes: make([]automatonNode, 1, size)}
	for _, text := range texts {
		at := int32(0)
		for i := range len(text) {
			next := a.next(at, text[i])
			if next == 0 {
				next = a.grow(at, text[i])
			}
			at = next
		}
		a.nodes[at].longest = int32(len(text))
	}
	a.link()
	return a
}

// next returns the child of a node by its label, or 0.
func (a *automaton) next(node int32, label byte) int32 {
	if node == 0 {
		return a.root[label]
	}
	child := a.nodes[node].child
	for child != 0 && a.nodes[child].label != label {
		child = a.nodes[child].sibling
	}
	return child
}

func (a *automaton) grow(parent int32, label byte) int32 {
	child := int32(len(a.nodes))
	p := &a.nodes[parent]
	a.nodes = append(a.nodes, automatonNode{sibling: p.child, depth: p.depth + 1, label: label})
	a.nodes[parent].child = child
	if parent == 0 {
		a.root[label] = child
	}
	return child
}

// link sets fail and longest, in order of depth.
func (a *automaton) link() {
	queue := make([]int32, 1, len(a.nodes))
	for head := 0; head < len(queue); head++ {
		parent := queue[head]
		for child := a.nodes[parent].child; child != 0; child = a.nodes[child].sibling {
			queue = append(queue, child)
			n := &a.nodes[child]
			if parent != 0 {
				n.fail = a.step(a.nodes[parent].fail, n.label)
			}
			if n.longest == 0 {
				n.longest = a.nodes[n.fail].longest
			}
		}
	}
}

// step returns the node after one more byte.
func (a *automaton) step(node int32, b byte) int32 {
	for {
		next := a.next(node, b)
		if next != 0 || node == 0 {
			return next
		}
		node = a.nodes[node].fail
	}
}

// mask overwrites every occurrence of a text in data, and a start of a text,
// of leastSecret bytes or more, at the end of data.
func (a *automaton) mask(data []byte) {
	ends := make([]int32, len(data)) // length of the longest text that ends at this byte
	node := int32(0)
	for i, b := range data {
		node = a.step(node, b)
		ends[i] = a.nodes[node].longest
	}
	left := int32(0) // bytes to overwrite from here backwards
	if started := a.nodes[node].depth; started >= leastSecret {
		left = started
	}
	for i := len(data) - 1; i >= 0; i-- {
		if left = max(left, ends[i]); left > 0 {
			data[i] = '*'
			left--
		}
	}
}
