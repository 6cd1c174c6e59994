// Command words counts the pronouns that hide a noun in the comments and pages that hosts and
// contributors read: "what" as a noun, "the one that" and its kin, and "nothing" as a subject. In a
// thousand words fewer than 0.5, 0.5 and 1.0 of these may stand, in each package and in the pages.
//
//	go run ./internal/gate/words [-v] [package...]
//
// It runs at the root of the repository. With -v it lists each place. It exits with 1 when a part is above a limit.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
)

// parts are counted. A package is named by its folder.
var parts = []part{
	{"root", []string{"*.go"}},
	{"guard", []string{"guard/*.go"}},
	{"memstore", []string{"memstore/*.go"}},
	{"pgstore", []string{"pgstore/*.go"}},
	{"sqlitestore", []string{"sqlitestore/*.go"}},
	{"verify", []string{"verify/*.go"}},
	{"portal", []string{"portal/*.go"}},
	{"webhooktest", []string{"webhooktest/*.go"}},
	{"storetest", []string{"storetest/*.go"}},
	{"internal/post", []string{"internal/post/*.go", "internal/post/*/*.go"}},
	{"internal/lanes", []string{"internal/lanes/*.go"}},
	{"otelwebhook", []string{"otelwebhook/*.go"}},
	{"docs", []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/*.md"}},
}

func main() {
	list := flag.Bool("v", false, "list each place")
	flag.Parse()
	chosen := parts
	if flag.NArg() > 0 {
		chosen = nil
		for _, name := range flag.Args() {
			i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
			if i < 0 {
				fmt.Fprintf(os.Stderr, "words: no part is called %q\n", name)
				os.Exit(2)
			}
			chosen = append(chosen, parts[i])
		}
	}
	ok, err := check(os.Stdout, ".", chosen, *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	if !ok {
		fmt.Println("words: give these sentences their nouns back (go run ./internal/gate/words -v lists the places)")
		os.Exit(1)
	}
}
