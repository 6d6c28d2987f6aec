# "make help" lists the targets.
VERSION := $(shell cat VERSION)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
export CGO_ENABLED = 0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/bahnpost, one static binary
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/bahnpost ./cmd/bahnpost

.PHONY: run
run: build ## build and start a whole mail system on loopback with two accounts
	bin/bahnpost demo bahnpost-data

.PHONY: test
test: peers check ## everything: all tests, with real clients and peers (installed when root)
	go test -timeout 30m ./...

.PHONY: unit
unit: ## the quick tests: no network, no other programs
	go test -short -timeout 5m ./...

.PHONY: check
check: ## format, vet (64 and 32 bit), the rules of the house
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	GOARCH=386 go vet ./mail ./home ./wire/... ./flow/... ./obs
	go test -count=1 .

.PHONY: peers
peers: ## install the mail clients and servers that tests talk to (root, Debian)
	@test/peers/install.sh

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 20s)
	@test/fuzz.sh $${FUZZTIME:-20s}

.PHONY: talk
talk: ## type IMAP to a node that lives as long as you talk, and record a story file
	go run ./test/talk/repl

.PHONY: walk
walk: ## the fault walk and kill -9 under load, long
	BAHNPOST_LONG=1 go test -count=1 -timeout 30m -run 'Walk|Kill|PowerCut|Metamorphic' ./...

.PHONY: drill
drill: peers ## a cell under Patroni and load: everything breaks in turn, a table of what that did (FAULTS=SIGSTOP,disk)
	BAHNPOST_DRILL="$${FAULTS:-all}" go test -count=1 -timeout 40m -v -run '^TestDrill$$' ./test/drill

.PHONY: bench
bench: ## Go benchmarks of the hot paths
	go test -run '^$$' -bench . -benchmem ./store/... ./wire/... ./serve/... ./home/...

.PHONY: bench-peer
bench-peer: ## Bahnpost beside PEER=dovecot, cyrus or none; PARTS=pop3,write (needs ../shared/bench, root)
	test/bench/beside.sh $${PEER:-none} $${PARTS:-}

.PHONY: clean
clean: ## remove what build made (not bahnpost-data)
	rm -rf bin
