# Everything that a change must pass. "make test" and "make lint" are the daily two;
# "make ci" is the whole gate, as CI runs it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .cache/bin
# The race detector slows tests several times over: the limit is for a hang, not for slowness.
TESTFLAGS ?= -race -shuffle=on -timeout=20m
PKGS ?= ./...

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## bring what the tests need, or say what is missing
	@.ci/setup

.PHONY: test
test: setup $(BIN)/gotestsum ## run all tests of all modules with the race detector
	@COUNTS=.cache/counts WEBHOOK_TESTS=full .ci/test $$(go list -m -f '{{.Dir}}') -- $(TESTFLAGS) $(PKGS)

.PHONY: lint
lint: $(BIN)/staticcheck $(BIN)/golangci-lint ## gofmt, go vet, staticcheck, golangci-lint
	@.ci/lint

.PHONY: tidy
tidy: ## check that every go.mod and go.sum is tidy
	@.ci/tidy

.PHONY: rules
rules: ## check imports, forbidden calls, that every item has a test or a reason, and the words of comments and pages
	@cd internal/gate && go test -count=1 ./rules ./items ./words
	@go run ./internal/gate/words

.PHONY: alone
alone: $(BIN)/gotestsum ## build and vet every module without the workspace, and test (-short) those that others import
	@.ci/alone

.PHONY: examples
examples: ## build the examples and run the quickstart
	@.ci/examples

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME (10s) each, FUZZBUDGET (80) seconds in all
	@.ci/fuzz

.PHONY: cover
cover: ## check that the tests of the root package and verify cover 90 % of each
	@.ci/cover

.PHONY: ci
ci: ## the whole gate
	@.ci/run

.PHONY: clean
clean: ## remove everything that was built or installed inside the tree
	@rm -rf .cache
	@git ls-files --cached --others --exclude-standard -- package-lock.json '*/package-lock.json' | \
		while read -r lock; do rm -rf "$$(dirname "$$lock")/node_modules"; done

# An analyser refuses code newer than the Go it was built with, so that a new Go builds it anew: the
# file is named for the Go version, and the name that is called links to it.
GOVERSION := $(shell go env GOVERSION)
$(BIN)/staticcheck $(BIN)/golangci-lint $(BIN)/gotestsum: $(BIN)/%: $(BIN)/$(GOVERSION)/%
	@ln -sf $(GOVERSION)/$* $@
$(BIN)/$(GOVERSION)/staticcheck: TOOL := honnef.co/go/tools/cmd/staticcheck
$(BIN)/$(GOVERSION)/golangci-lint: TOOL := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BIN)/$(GOVERSION)/gotestsum: TOOL := gotest.tools/gotestsum
$(BIN)/$(GOVERSION)/%: internal/tools/go.mod internal/tools/go.sum
	@mkdir -p $(@D)
	@echo "building $* (once for each version of it and of Go)"
	@cd internal/tools && GOWORK=off go build -o ../../$(@D)/ $(TOOL)
	@touch $@
