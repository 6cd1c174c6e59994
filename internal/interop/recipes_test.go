package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// recipe is a receiver of docs/verifying.md: how its files become a process.
type recipe struct {
	language string // its folder in the document's directives
	// plain changes a file to check the plain signature, as the document says.
	plain struct{ file, from, to string }
	build []string // run once in the folder, if not empty
	start func(port string) []string
}

var recipes = []recipe{
	{
		language: "node",
		plain:    struct{ file, from, to string }{"server.mjs", "import { verify } from", "import { verifyPlain as verify } from"},
		start:    func(string) []string { return []string{"node", "server.mjs"} },
	},
	{
		language: "go",
		plain:    struct{ file, from, to string }{"main.go", "// For X-Webhook-Signature alone, add AllowPlain: true.", "AllowPlain: true,"},
		build:    []string{"go", "build", "-mod=mod", "-o", "receiver", "."},
		start:    func(string) []string { return []string{"./receiver"} },
	},
	{
		language: "python",
		plain:    struct{ file, from, to string }{"server.py", "from webhook import verify", "from webhook import verify_plain as verify"},
		start:    func(string) []string { return []string{"python3", "-B", "server.py"} },
	},
	{
		language: "ruby",
		plain:    struct{ file, from, to string }{"config.ru", "Webhook.verify(", "Webhook.verify_plain("},
		start:    func(port string) []string { return []string{"ruby", "rack.rb", port} },
	},
	{
		language: "php",
		plain:    struct{ file, from, to string }{"server.php", "webhook_verify(", "webhook_verify_plain("},
		start:    func(port string) []string { return []string{"php", "-n", "-S", "127.0.0.1:" + port, "server.php"} },
	},
	{
		language: "java",
		plain:    struct{ file, from, to string }{"Receiver.java", "Webhook.verify(", "Webhook.verifyPlain("},
		build:    []string{"javac", "-Xlint:all", "-Werror", "Webhook.java", "Receiver.java"},
		start:    func(string) []string { return []string{"java", "-XX:TieredStopAtLevel=1", "-Xmx128m", "Receiver"} },
	},
}

// A file of a document is the fenced block after <!-- file: folder/name -->.
var (
	fileStart = regexp.MustCompile(`^<!-- file: ([a-z]+/[A-Za-z]+\.[a-z]+) -->$`)
	fenceLine = regexp.MustCompile("^```")
)

// filesOf extracts the files of a document, by folder and name.
func filesOf(document string) (map[string]string, error) {
	files := map[string]string{}
	name, inside := "", false
	for line := range strings.Lines(document) {
		trimmed := strings.TrimSpace(line)
		switch {
		case inside && trimmed == "```":
			name, inside = "", false
		case inside && name != "":
			files[name] += line
		case inside:
		case fileStart.MatchString(trimmed):
			name = fileStart.FindStringSubmatch(trimmed)[1]
			if _, twice := files[name]; twice {
				return nil, fmt.Errorf("%s is there twice", name)
			}
		case fenceLine.MatchString(trimmed):
			inside = true
		case strings.HasPrefix(trimmed, "<!-- file"):
			return nil, fmt.Errorf("%q names no file", trimmed)
		case name != "" && trimmed != "":
			return nil, fmt.Errorf("%q stands between the name %s and its block", trimmed, name)
		}
	}
	if name != "" || inside {
		return nil, errors.New("the last block has no end")
	}
	return files, nil
}

// unpack writes the files of a recipe into a folder, with what its language
// needs beside them, and builds it.
func (r recipe) unpack(t *testing.T, files map[string]string, plain bool) (folder string) {
	t.Helper()
	folder = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for name, text := range files {
		if path.Dir(name) != r.language {
			continue
		}
		found++
		if name = path.Base(name); plain && name == r.plain.file {
			if strings.Count(text, r.plain.from) != 1 {
				t.Fatalf("%s of the document does not contain %q once", name, r.plain.from)
			}
			text = strings.Replace(text, r.plain.from, r.plain.to, 1)
		}
		write(name, text)
	}
	if found == 0 {
		t.Fatalf("the document has no files for %s", r.language)
	}
	switch r.language {
	case "node":
		linkNodeModules(t, folder)
	case "go":
		write("go.mod", goMod(t))
	case "ruby":
		rack, err := os.ReadFile("rack.rb")
		if err != nil {
			t.Fatal(err)
		}
		write("rack.rb", string(rack))
	}
	if len(r.build) > 0 {
		cmd := exec.CommandContext(t.Context(), r.build[0], r.build[1:]...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	return folder
}

// linkNodeModules makes the packages of this folder those of another.
func linkNodeModules(t *testing.T, folder string) {
	t.Helper()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "express")); err != nil {
		t.Fatalf("the Node packages are not installed: run 'make setup': %v", err)
	}
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
}

// goMod is that of somebody's own program beside a clone of this repository.
func goMod(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/seed68722ecd/webhook"
	return fmt.Sprintf("module example.com/program\n\ngo 1.26.0\n\nrequire %s v0.0.0\n\nreplace %[1]s => %s\n", module, root)
}

// endpoint is a running receiver.
type endpoint struct {
	url    string
	output *output
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// serve starts a recipe and waits until it listens. The port is free a moment
// before; whoever else took it meanwhile makes the process end, and the next is
// tried.
func (r recipe) serve(t *testing.T, folder, secrets string) endpoint {
	t.Helper()
	for range 5 {
		port := freePort(t)
		p := r.launch(t, folder, secrets, port)
		for deadline := time.Now().Add(patience); ; {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
			if err == nil {
				conn.Close()
				return endpoint{"http://127.0.0.1:" + port + "/webhooks", p.output}
			}
			if p.ended(20 * time.Millisecond) {
				t.Logf("%s on port %s ended:\n%s", r.language, port, p.output)
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not listen:\n%s", r.language, p.output)
			}
		}
	}
	t.Fatalf("the receiver in %s does not start", r.language)
	return endpoint{}
}

// launched is a process that was started.
type launched struct {
	output *output
	done   chan struct{} // closed when it has ended
}

// ended waits for a process to end, for no longer than d.
func (p launched) ended(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
		return false
	}
}

// launch starts the process of a recipe until the test ends.
func (r recipe) launch(t *testing.T, folder, secrets, port string) launched {
	t.Helper()
	args := r.start(port)
	program, err := exec.LookPath(args[0])
	if strings.HasPrefix(args[0], "./") {
		program, err = filepath.Join(folder, args[0]), nil
	}
	if err != nil {
		t.Fatalf("%s is needed: run 'make setup': %v", args[0], err)
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+secrets)
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := launched{out, make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
	return p
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
