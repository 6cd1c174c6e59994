package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// "Your first delivery" of the README, step by step, as somebody does who has
// nothing but it: only the port is another, and the module is this clone.
func TestFirstDeliveryOfTheREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filesOf(string(text))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	write := func(folder, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	backend := t.TempDir()
	const url = "http://127.0.0.1:3000/"
	if !strings.Contains(files["first/main.go"], url) || !strings.Contains(files["first/server.mjs"], "listen(3000)") {
		t.Fatal("the two programs do not meet at port 3000")
	}
	write(backend, "main.go", strings.ReplaceAll(files["first/main.go"], url, strings.Replace(url, "3000", port, 1)))
	write(backend, "go.mod", goMod(t))
	tidy := exec.CommandContext(t.Context(), "go", "mod", "tidy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "backend", ".")
	for _, cmd := range []*exec.Cmd{tidy, build} {
		cmd.Dir, cmd.Env = backend, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	cmd := exec.Command(filepath.Join(backend, "backend"))
	sent := new(output)
	cmd.Stdout, cmd.Stderr = sent, sent
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	secret := sent.wait(t, `WEBHOOK_SECRET=(\S+)`)

	receiver := t.TempDir()
	linkNodeModules(t, receiver)
	write(receiver, "server.mjs", strings.Replace(files["first/server.mjs"], "listen(3000)", "listen("+port+")", 1))
	r := recipe{language: "first", start: func(string) []string { return []string{"node", "server.mjs"} }}
	p := r.launch(t, receiver, secret, port)
	// Its first attempt may come before the receiver listens; the retry is 15 s
	// later, so say something again.
	for deadline := time.Now().Add(patience); !strings.Contains(p.output.String(), "Hello"); {
		if p.ended(200*time.Millisecond) || time.Now().After(deadline) {
			t.Fatalf("nothing was received; the receiver wrote\n%s\nand the backend\n%s", p.output, sent)
		}
		if _, err := in.Write([]byte("Hello\n")); err != nil {
			t.Fatalf("%v; the backend wrote\n%s", err, sent)
		}
	}
	p.output.wait(t, `received agent\.message (evt_\w+)`)
	sent.wait(t, `state=succeeded.* (status=204)`)
	if strings.Contains(p.output.String(), "refused") {
		t.Errorf("the receiver refused something:\n%s", p.output)
	}
}

// wait waits until what was written matches, and returns the first group.
func (o *output) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing like %s in:\n%s", pattern, o)
		}
	}
}
