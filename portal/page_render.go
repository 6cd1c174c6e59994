package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Templates and assets are embedded in the program: they need no build step,
// and pages load no files from other sites.
//
//go:embed templates/*.html templates/snippets/*
var templateFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// pageTemplates holds one set for each page: the layout, the shared parts, and
// the page's own file.
var pageTemplates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	shared := template.Must(template.New("layout").Funcs(template.FuncMap{
		"line":    line,
		"visible": visible,
		"asset":   func(name string) string { return assets[name].versioned },
		"join":    strings.Join,
	}).ParseFS(templateFiles, "templates/layout.html", "templates/part_*.html"))
	files, err := fs.Glob(templateFiles, "templates/page_*.html")
	if err != nil {
		panic(err)
	}
	sets := make(map[string]*template.Template, len(files))
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(path.Base(f), "page_"), ".html")
		sets[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, f))
	}
	return sets
}

// frameView is the data of the layout around every page.
type frameView struct {
	Root      string // relative reference to the mount: "./", "../", …
	Brand     string // Config.Title
	Title     string // of this page
	Crumbs    []crumb
	Manage    bool // the visitor may change things
	Access    bool // the visitor is known
	RequestID string
	Done      string // note about the change that redirected here
	Every     int    // milliseconds between refreshes; 0 for a page that does not change
	Self      string // reference to this page from itself, with its query
	V         any    // the page's own
}

// crumb is one step of the breadcrumbs; the last, without a link, is the page
// itself.
type crumb struct {
	Href, Text string
}

// page returns the frame of a page; the caller sets V.
func (s *server) page(r *http.Request, a Access, title string, crumbs ...crumb) frameView {
	p := frameView{
		Root: rootOf(r), Brand: s.cfg.Title, Title: title,
		Manage: a.Manage, Access: a.Tenant != "", RequestID: requestID(r.Context()),
		Done: doneTexts[r.URL.Query().Get("done")],
	}
	for _, c := range append([]crumb{{"", s.cfg.Title}}, crumbs...) {
		c.Href = p.Root + c.Href
		p.Crumbs = append(p.Crumbs, c)
	}
	p.Crumbs[len(p.Crumbs)-1].Href = ""
	return p
}

// doneTexts are the notes after a redirect. The query only selects one of them,
// so that a forged link cannot put text on a page.
var doneTexts = map[string]string{
	"saved":    "The settings were saved. They are in force for every attempt from now on.",
	"enabled":  "The webhook is active again. Events from now on are sent to it.",
	"disabled": "The webhook is disabled. Nothing is sent to it until it is enabled.",
	"deleted":  "The webhook was deleted. Nothing more is sent to it.",
	"resent":   "Sent again: the new attempt shows up below as soon as it has been made.",
	"test":     "The test event is on its way: its result shows up below.",
}

// show answers with a page. A template that fails is a bug of this package:
// show panics, before anything has been written, and ServeHTTP contains the
// panic.
func (s *server) show(w http.ResponseWriter, r *http.Request, status int, name string, p frameView) {
	block := "layout.html"
	if p.Every > 0 && r.URL.Query().Get("live") == "1" {
		block = "fragment"
	}
	var b bytes.Buffer
	if err := pageTemplates[name].ExecuteTemplate(&b, block, p); err != nil {
		panic(fmt.Errorf("page %s: %w", name, err))
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the visitor has gone
}

// redirect sends the visitor to a page below the mount by a relative reference,
// which works under every mount and cannot lead to another site.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	// http.Redirect would make the reference absolute, from a path without the
	// part that http.StripPrefix has removed.
	w.Header().Set("Location", rootOf(r)+to)
	w.WriteHeader(http.StatusSeeOther)
}

// asset is a file that pages load, such as a style sheet or script.
type asset struct {
	body        []byte
	contentType string
	versioned   string // its name with its version, for links
	tag         string // its ETag
}

var assets = loadAssets()

func loadAssets() map[string]asset {
	types := map[string]string{".svg": "image/svg+xml", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	out := make(map[string]asset, len(files))
	for _, f := range files {
		body, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		out[f.Name()] = asset{body, types[path.Ext(f.Name())], f.Name() + "?v=" + hex.EncodeToString(sum[:6]), contentTag(body)}
	}
	return maps.Clone(out)
}

// serveAsset serves a style sheet or script. Its address changes with its
// content, so that clients may cache it for ever.
func (s *server) serveAsset(w http.ResponseWriter, r *http.Request, _ Access) {
	f, ok := assets[r.PathValue("file")]
	if !ok {
		s.answerProblem(w, r, kindPage, newProblem(http.StatusNotFound, codeNotFound, detailNotFound))
		return
	}
	h := w.Header()
	if "?"+r.URL.RawQuery == f.versioned[strings.IndexByte(f.versioned, '?'):] {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if done, err := notModified(w, r, f.tag); done || err != nil {
		if err != nil {
			s.refusePage(w, r, err)
		}
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(f.body)
}
