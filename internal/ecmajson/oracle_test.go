package ecmajson

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// Node's verdicts about a text.
const (
	fine = iota
	parseThrew
	stringifyThrew
)

type answer struct {
	status byte
	text   []byte
}

// oracle is a Node process that runs testdata/oracle.mjs.
type oracle struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startOracle(t testing.TB) *oracle {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("left out: the comparison with Node.js; install Node.js 20 or later and run go test ./internal/ecmajson")
	}
	if err != nil {
		t.Fatalf("install Node.js 20 or later, this test compares with it: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/oracle.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() && t.Context().Err() == nil {
			t.Errorf("node: %v", err)
		}
	})
	return &oracle{in: in, out: bufio.NewReaderSize(out, 1<<16)}
}

func (o *oracle) ask(t testing.TB, docs [][]byte) []answer {
	t.Helper()
	batch := binary.LittleEndian.AppendUint32(nil, uint32(len(docs)))
	for _, d := range docs {
		batch = binary.LittleEndian.AppendUint32(batch, uint32(len(d)))
		batch = append(batch, d...)
	}
	if _, err := o.in.Write(batch); err != nil {
		t.Fatalf("node: %v", err)
	}
	answers := make([]answer, len(docs))
	for n := range answers {
		var head [5]byte
		if _, err := io.ReadFull(o.out, head[:]); err != nil {
			t.Fatalf("node: %v", err)
		}
		answers[n] = answer{head[0], make([]byte, binary.LittleEndian.Uint32(head[1:]))}
		if _, err := io.ReadFull(o.out, answers[n].text); err != nil {
			t.Fatalf("node: %v", err)
		}
	}
	return answers
}

// verdicts counts the documents by verdict, to show that every case occurs.
type verdicts struct{ accepted, changed, invalid, number, key, depth int }

// compare checks documents against Node and against judge.
func (o *oracle) compare(t *testing.T, docs [][]byte, count *verdicts) {
	t.Helper()
	ours := make([][]byte, len(docs))
	errs := make([]error, len(docs))
	batch := docs[:len(docs):len(docs)]
	for n, d := range docs {
		ours[n], errs[n] = Append(nil, d, Limits{})
		if errs[n] == nil {
			batch = append(batch, ours[n])
		}
	}
	answers := o.ask(t, batch)
	again := answers[len(docs):]
	for n, d := range docs {
		node := answers[n]
		err := errs[n]
		bad := func(format string, args ...any) {
			t.Errorf("%s\n input %.2000q\n ours  %.2000q, %v\n node  %.2000q, status %d", fmt.Sprintf(format, args...),
				d, ours[n], err, node.text, node.status)
		}
		if err == nil {
			count.accepted++
			if !bytes.Equal(ours[n], d) {
				count.changed++
			}
			if node.status != fine || !bytes.Equal(node.text, ours[n]) {
				bad("Node differs")
			}
			if again[0].status != fine || !bytes.Equal(again[0].text, ours[n]) {
				bad("the output does not survive parse and stringify: %.2000q", again[0].text)
			}
			again = again[1:]
		}
		if node.status == parseThrew {
			count.invalid++
			if err == nil {
				bad("Node refuses this")
			}
			continue
		}
		if want := judge(d, DefaultMaxDepth); !errors.Is(err, want) {
			bad("the error should be %v", want)
		}
		switch {
		case errors.Is(err, ErrNumber):
			count.number++
		case errors.Is(err, ErrKey):
			count.key++
		case errors.Is(err, ErrDepth):
			count.depth++
		case errors.Is(err, ErrSyntax):
			bad("Node takes this")
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// TestV2_NodeAgrees compares random documents with Node: 20,000 of them, or as
// many as WEBHOOK_ORACLE_DOCS says, from the seed WEBHOOK_ORACLE_SEED.
func TestV2_NodeAgrees(t *testing.T) {
	total, seed := uint64(20_000), uint64(1)
	for name, v := range map[string]*uint64{"WEBHOOK_ORACLE_DOCS": &total, "WEBHOOK_ORACLE_SEED": &seed} {
		if s := os.Getenv(name); s != "" {
			var err error
			if *v, err = strconv.ParseUint(s, 10, 64); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	const batch = 1000
	o := startOracle(t)
	var count verdicts
	for done := uint64(0); done < total; done += batch {
		g := newGenerator(seed<<32 + done)
		docs := make([][]byte, 0, batch)
		for range batch {
			docs = append(docs, g.document())
		}
		o.compare(t, docs, &count)
	}
	t.Logf("seed %d: %d documents: %+v", seed, total, count)
	for verdict, n := range map[string]int{"accepted": count.accepted, "changed": count.changed, "invalid": count.invalid,
		"refused for a number": count.number, "refused for a key": count.key, "refused for depth": count.depth} {
		if uint64(n) < total/1000 {
			t.Errorf("only %d of %d documents were %s: the generator does not produce such documents", n, total, verdict)
		}
	}
}

// corpusFile holds one document a line, in standard base64.
const corpusFile = "testdata/corpus.base64"

var extendCorpus = flag.Bool("extend-corpus", false, "add the documents of the tables and 600 generated ones to "+corpusFile)

func readCorpus(t testing.TB) [][]byte {
	t.Helper()
	text, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	var docs [][]byte
	for line := range bytes.Lines(text) {
		doc, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil {
			t.Fatalf("%s, line %d: %v", corpusFile, len(docs)+1, err)
		}
		docs = append(docs, doc)
	}
	return docs
}

// TestV2_NodeAgreesOnTheCorpus checks the documents kept as a regression set, which other
// packages send to real receivers.
func TestV2_NodeAgreesOnTheCorpus(t *testing.T) {
	if *extendCorpus {
		writeCorpus(t)
	}
	docs := readCorpus(t)
	if len(docs) < 500 {
		t.Errorf("%d documents, want at least 500", len(docs))
	}
	known := map[string]bool{}
	for _, d := range docs {
		known[string(d)] = true
	}
	for _, r := range tableVA {
		if !known[r.src] {
			t.Errorf("table V-A, %s: not in %s: run this test with -extend-corpus", r.name, corpusFile)
		}
	}
	var count verdicts
	startOracle(t).compare(t, docs, &count)
	t.Logf("%d documents: %+v", len(docs), count)
	if count.accepted < 400 {
		t.Errorf("%d documents of the corpus are accepted, want at least 400", count.accepted)
	}
}

func writeCorpus(t *testing.T) {
	t.Helper()
	known := map[string]bool{}
	var text []byte
	add := func(doc []byte) {
		if !known[string(doc)] {
			known[string(doc)] = true
			text = append(base64.StdEncoding.AppendEncode(text, doc), '\n')
		}
	}
	if _, err := os.Stat(corpusFile); err == nil {
		for _, d := range readCorpus(t) {
			add(d)
		}
	}
	for _, rows := range [][]row{tableVA, stringRows, objectRows, numberRows, syntaxRows} {
		for _, r := range rows {
			add([]byte(r.src))
		}
	}
	for seed, n := uint64(0), 0; n < 600; seed++ {
		doc := newGenerator(seed).document()
		if len(doc) < 3 || len(doc) > 1200 || !json.Valid(doc) && seed%4 > 0 {
			continue
		}
		add(doc)
		n++
	}
	if err := os.WriteFile(corpusFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
