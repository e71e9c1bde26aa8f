# What there is to do here. `make` alone lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.SHELLFLAGS := -euo pipefail -c

GO ?= go
# Reproducible: no paths, no time, no build id that depends on the folder.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid='
TOOL := $(GO) tool -modfile=tools/go.mod

# The packages that must also build where no sandbox can run.
PORTABLE := ./api ./audit ./cli ./credential ./egress/... ./fault ./inference ./kernel ./middleware/... ./netname ./policy/... ./presets ./secret ./sandbox/seccomp ./cmd/creel
FOREIGN := darwin/arm64 linux/arm64 windows/amd64

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: go
go:
	@command -v $(GO) >/dev/null || { echo "make: $(GO) is not on the PATH; creel is built with Go $$(sed -n 's/^go //p' go.mod) or newer" >&2; \
		echo 'hint: export PATH="$$PATH:/usr/local/go/bin"   (if it is there)' >&2; exit 2; }

.PHONY: build
build: go ## build bin/creel, static and reproducible
	@mkdir -p bin
	$(BUILD) -o bin/creel ./cmd/creel

.PHONY: demo
demo: build ## run an agent in a sandbox against a local model: the main job
	./demo/run

.PHONY: test
test: go prepare ## install what the tests need, then run them all
	./tools/test

.PHONY: prepare
prepare: build
	@./tools/prepare tests agents clients

.PHONY: agents
agents: build ## install OpenClaw, Claude Code, Codex, OpenCode and Gemini CLI into .tools/agents
	@./tools/prepare agents
	@echo 'all five are in .tools/agents. Next, in the folder that the agent works in:'
	@echo '  $(CURDIR)/bin/creel run --agent openclaw --agent-root $(CURDIR)/.tools/agents'

.PHONY: test-agents
test-agents: agents ## let each of the five agents do a task in a sandbox, as root and as a user
	@./tools/prepare tests
	CREEL_AGENTS=$(CURDIR)/.tools/agents $(GO) test -count=1 -tags agents -timeout 30m -run '^TestAgent' ./e2e

.PHONY: clients
clients: ## install clients of HTTP, WebSockets and mail, of Node and Python, into .tools/clients
	@./tools/prepare clients

.PHONY: test-clients
test-clients: build clients ## let clients that people use talk through a sandbox (docs/clients.md)
	@./tools/prepare tests
	CREEL_CLIENTS=$(CURDIR)/.tools/clients $(GO) test -count=1 -timeout 10m -run '^Test(HTTPClients|WebSocketClients|Apt|NativeClients|Clients|PackageManagers)$$' ./e2e ./egress

.PHONY: mcp
mcp:
	@./tools/prepare mcp

.PHONY: test-mcp
test-mcp: build mcp ## let the official MCP client, server and conformance suite talk through a sandbox
	CREEL_MCP=$(CURDIR)/.tools/mcp $(GO) test -count=1 -tags mcp -timeout 10m -run '^TestMCP' ./e2e

.PHONY: check
check: lint test ## all that must hold before a commit

.PHONY: lint
lint: ## formatting, vet, staticcheck, imports, generated files, other systems
	@./tools/lint

.PHONY: cross
cross: ## vet and compile the portable packages for other systems (not run there)
	@for t in $(FOREIGN); do \
		echo "cross $$t"; \
		export GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0; \
		$(GO) vet $(PORTABLE); \
		$(GO) build -o /dev/null ./cmd/creel; \
		for p in $$($(GO) list $(PORTABLE)); do $(GO) test -c -o /dev/null $$p; done; \
	done

.PHONY: deps
deps: ## write cmd/creel/deps.txt, the list of modules in the binary
	@./tools/deps > cmd/creel/deps.txt

.PHONY: docs
docs: ## write the generated pages of docs/policy: the reference, the presets
	@$(GO) run ./internal/policydoc docs/policy

.PHONY: secret-rules
secret-rules: ## write the rules of middleware/secrets from those of gitleaks
	@$(GO) run ./internal/secretrules

.PHONY: attacks
attacks: ## try every line of the attack catalogue and print the results (ARGS=-json)
	@$(GO) run ./internal/attacks $(ARGS)

.PHONY: kill-test
kill-test: build ## kill supervisor, init or agent KILLS (1000) times at random moments
	CREEL_KILLS=$(or $(KILLS),1000) $(GO) test ./e2e -run 'TestRandomKill' -count=1 -timeout 50m -v

.PHONY: soak
soak: build ## full load and a new policy every second for SOAK (30m)
	CREEL_SOAK=$(or $(SOAK),30m) $(GO) test ./e2e -run '^TestSoak$$' -count=1 -timeout 0 -v

.PHONY: bench
bench: build ## measure against the peers and write docs/BENCHMARKS.md
	./bench/run

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s) each
	@./tools/fuzz $(or $(FUZZTIME),10s)

.PHONY: clean
clean: ## remove what was built; installed agents and peers too
	rm -rf bin .tools
