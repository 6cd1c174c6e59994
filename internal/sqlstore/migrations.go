package sqlstore

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// migrationDir is the folder of a store's package that holds its migrations.
const migrationDir = "migrations"

// A Migration is one numbered step.
type Migration struct {
	Version int
	SQL     string
}

// Migrations returns the steps in a store's files, in order and with names put in.
// They are numbered from 1, without gaps.
func Migrations(files embed.FS, names *strings.Replacer) ([]Migration, error) {
	entries, err := files.ReadDir(migrationDir)
	if err != nil {
		return nil, err
	}
	var out []Migration
	for i, e := range entries {
		if !strings.HasPrefix(e.Name(), fmt.Sprintf("%04d_", i+1)) {
			return nil, fmt.Errorf("migration %s is out of order", e.Name())
		}
		raw, err := files.ReadFile(migrationDir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, Migration{i + 1, names.Replace(string(bytes.TrimSpace(raw)))})
	}
	return out, nil
}

// MigrationFS returns a file system with a store's files in its root, with names
// put in.
func MigrationFS(files embed.FS, names *strings.Replacer) (fs.FS, error) {
	sub, err := fs.Sub(files, migrationDir)
	if err != nil {
		return nil, err
	}
	return namedFS{sub, names}, nil
}

// namedFS puts names into the files of another file system when they are opened.
type namedFS struct {
	raw   fs.FS
	names *strings.Replacer
}

// Open implements [fs.FS].
func (f namedFS) Open(name string) (fs.File, error) {
	file, err := f.raw.Open(name)
	if err != nil {
		return nil, err
	}
	if dir, ok := file.(fs.ReadDirFile); ok {
		return namedDir{dir, f}, nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := fs.ReadFile(f.raw, name)
	if err != nil {
		return nil, err
	}
	text := f.names.Replace(string(raw))
	return &namedFile{namedInfo{info, int64(len(text))}, strings.NewReader(text)}, nil
}

// namedDir is the root, the only directory.
type namedDir struct {
	fs.ReadDirFile
	fs namedFS
}

func (d namedDir) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.ReadDirFile.ReadDir(n)
	for i := range entries {
		entries[i] = namedEntry{entries[i], d.fs}
	}
	return entries, err
}

// namedEntry reports the size of the file as namedFS opens it.
type namedEntry struct {
	fs.DirEntry
	fs namedFS
}

func (e namedEntry) Info() (fs.FileInfo, error) { return fs.Stat(e.fs, e.Name()) }

type namedFile struct {
	info namedInfo
	*strings.Reader
}

func (f *namedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *namedFile) Close() error               { return nil }

// namedInfo has the size of the text with names put in.
type namedInfo struct {
	fs.FileInfo
	size int64
}

func (i namedInfo) Size() int64 { return i.size }
