# Needs Go (the version in go.mod or newer), make and git; `make deps` installs the rest.

FUZZTIME ?= 10s
ROUNDS   ?= 5
LISTEN   ?= 127.0.0.1:8080
VERSION  ?= $(shell git describe --tags --always --dirty)
BIN      ?= bin
ARCHS    ?= amd64 arm64
# The same sources give the same bytes: no path, no build id. Position-independent
# executables, so that addresses of code cannot be predicted.
BUILD    := go build -trimpath -buildmode=pie -ldflags '-s -buildid= -X github.com/optimizerd/optimizerd/pkg/buildinfo.version=$(VERSION)'
TOOL     := go tool -modfile=scripts/tools/go.mod
LINTER   := go tool -modfile=scripts/tools/golangci-lint/go.mod golangci-lint
SCRIPTS  := .ci/run $(filter-out scripts/tools scripts/vm scripts/compare %.html,$(wildcard scripts/* scripts/vm/*)) $(addprefix packaging/,postinst prerm postrm)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps build build-daemon build-codec build-amd64 build-arm64 manual deb release demo fleet run gallery screenshots compare check test test-cloudflared cloudflared test-s3 versitygw test-fleet storm storm-race nats-server test-arm64 test-deb test-guide image image-archive test-image test-vm reproduce test-worker bench measure load chaos fuzz sanitize lint lint-worker site alerts format vuln fresh clean

help: ## Show this list
	@echo "optimizerd: one image in, a ladder of sizes and formats out"
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

deps: ## Install what building, running and testing needs (Debian, Raspberry Pi OS)
	@scripts/install-deps

# The daemon faces the network and holds the tokens, so it has no C in it;
# libvips is linked into the codec alone, which the daemon starts as its child.
build: build-daemon build-codec ## Build both binaries into bin/

build-daemon:
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(BUILD) -o $(BIN)/optimizerd ./cmd/optimizerd

build-codec:
	@mkdir -p $(BIN)
	CGO_ENABLED=1 $(BUILD) -o $(BIN)/optimizerd-codec ./cmd/optimizerd-codec

# Against the oldest supported Debian, whatever this one is: for packages and releases.
build-amd64 build-arm64: build-%: deps
	@scripts/install-deps $*
	@scripts/portable $* $(MAKE) --no-print-directory build BIN=bin/$* VERSION=$(VERSION)

manual: deps
	@rm -rf bin/manual
	@scripts/manual bin/manual

deb: deps manual $(ARCHS:%=build-%) ## Make dist/optimizerd_VERSION_{amd64,arm64}.deb and check them with lintian (ARCHS=arm64)
	@scripts/install-deps deb
	@rm -rf dist
	@for arch in $(ARCHS); do scripts/deb $$arch $(VERSION) || exit; done
	lintian --allow-root --fail-on error,warning dist/*.deb

release: deps ## Make everything of a release in dist/, from a tag (VERSION=v1.2.0 rehearses it)
	@scripts/install-deps deb
	@scripts/install-deps image
	@scripts/release "$(ARCHS)" $(if $(filter file,$(origin VERSION)),,$(VERSION))

demo: ## Optimize a real photo with the real daemon, check every file, show them in .demo/
	@scripts/demo

fleet: deps build versitygw nats-server ## Run three nodes, three NATS servers and an S3 server here, kill one, lose nothing (PORT=18080)
	@scripts/fleet

run: deps build ## Run the daemon in the foreground (LISTEN=127.0.0.1:8080), data in .run/
	@echo "Once it listens, upload an image from another terminal:"
	@echo "  curl --data-binary @photo.jpg http://$(LISTEN)/v1/images"
	@OPTIMIZERD_CONFIG= OPTIMIZERD_HTTP_LISTEN=$(LISTEN) OPTIMIZERD_STORAGE_DIR=.run exec bin/optimizerd serve

gallery: ## Run daemon, Worker and five photos on this machine, without an account (PORT=8787)
	@scripts/gallery

screenshots: deps build ## Make the pictures of the README and the docs in docs/images/, from the running programs
	@scripts/install-deps worker
	@scripts/test-worker screenshots

check: ## The fast loop: format, vet, staticcheck, unit tests without libvips and built binaries
	@scripts/check $(TESTFLAGS)

test: deps build ## Run all tests under the race detector
	@scripts/test -race $(TESTFLAGS) ./...

test-cloudflared: deps build ## Run the tunnel's tests with a real cloudflared, which is built for it
	@scripts/test -race $(TESTFLAGS) -tags cloudflared -run Cloudflared ./pkg/daemon ./cmd/optimizerd

cloudflared: deps ## Build the cloudflared of those tests into bin/, to try things with
	CGO_ENABLED=0 go build -C scripts/tools/cloudflared -trimpath -o $(CURDIR)/bin/cloudflared github.com/cloudflare/cloudflared/cmd/cloudflared

test-s3: deps build versitygw ## Run the tests with a real S3 server, which is built for it
	@scripts/test -race $(TESTFLAGS) -tags versitygw ./pkg/s3 ./pkg/publish/bucket ./pkg/publish/move ./pkg/backup
	@scripts/test -race $(TESTFLAGS) -tags versitygw -run S3 ./pkg/daemon ./cmd/optimizerd

versitygw: deps ## Build the S3 server of those tests into bin/ (several minutes the first time)
	CGO_ENABLED=0 go build -C scripts/tools/versitygw -trimpath -o $(CURDIR)/bin/versitygw github.com/versity/versitygw/cmd/versitygw

# Most of these tests wait for leases and connections: more of them at a time than cores.
test-fleet: deps build versitygw nats-server ## Run the tests of several machines, with real NATS and S3 servers
	@scripts/test -race $(TESTFLAGS) -tags fleet ./pkg/fleet/...
	@scripts/test -race -parallel=6 $(TESTFLAGS) -tags fleet -run Fleet ./pkg/daemon ./cmd/optimizerd

storm: deps build versitygw nats-server ## The long form of the tests of several machines (SEEDS=20 JOBS=2000, some hours)
	@scripts/storm $(or $(SEEDS),20) $(or $(JOBS),2000)

storm-race: deps build versitygw nats-server ## Run storms of kills for an hour under the race detector (TIME=1h JOBS=2000 SEED=1)
	go test -race -count=1 -timeout=12h -v -tags fleet ./pkg/daemon -run='^TestFleetStorm$$' \
	  -storm.race -storm.seeds=0 -storm.time=$(or $(TIME),1h) -storm.jobs=$(or $(JOBS),2000) -chaos.seed=$(or $(SEED),1)

nats-server: deps ## Build the NATS server of those tests into bin/
	CGO_ENABLED=0 go build -C scripts/tools/nats-server -trimpath -o $(CURDIR)/bin/nats-server github.com/nats-io/nats-server/v2

test-deb: deb ## Install, use, upgrade, remove and purge the package on Debian 12 and 13 (root)
	@scripts/test-deb bookworm trixie

test-guide: ## Run the commands of docs/guide.md on a booted Debian, from the package (root; needs make deb)
	@scripts/install-deps deb
	@scripts/install-deps npm
	@scripts/test-guide

image: deps build ## Make the container image localhost/optimizerd:latest
	@scripts/install-deps image
	@scripts/image $$(dpkg --print-architecture) $(BIN) $(VERSION) --tag localhost/optimizerd:latest

image-archive: deps ## Make dist/optimizerd_VERSION_ARCH.oci.tar (ARCH=amd64 or arm64)
	@scripts/install-deps image
	@scripts/image-archive $(ARCH) $(VERSION)

test-image: deps build ## Build the image, run it as compose.yaml does, kill it, upgrade it (root)
	@scripts/install-deps image
	@scripts/test-image

test-arm64: deps build-arm64 ## Run unit tests and the demo for arm64, elsewhere under emulation
	@scripts/test-arm64

test-vm: deps deb ## Boot Debian arm64 in QEMU, install the package there, and break it (root)
	@scripts/install-deps vm
	@scripts/test-vm $(BOOTS)

reproduce: ## Prove that the same commit gives the same packages
	@scripts/reproduce

test-worker: deps build ## Test the Cloudflare Worker in its own runtime against the daemon
	@scripts/install-deps worker
	@scripts/test-worker

bench: deps build ## Compare with bimg, sharp and nginx (ROUNDS=5 PHOTOS=… PARTS=… REPORT=docs/performance.md)
	@scripts/install-deps bench
	@scripts/bench -rounds $(ROUNDS) -json bin/bench/figures.json \
	  $(if $(PHOTOS),-photos $(PHOTOS)) $(if $(PARTS),-parts $(PARTS)) $(if $(REPORT),-o $(REPORT))

compare: deps build ## Compare what comes out with other decoders, for all images in FOLDERS="DIR…"
	@scripts/install-deps compare
	@scripts/compare $(FOLDERS)

measure: deps build ## Measure the running service: memory, and time beside the engine's
	@scripts/measure

load: deps build ## Queue 10,000 jobs, measure, and check that each ends with one webhook
	@scripts/load

chaos: deps build ## The long form of the tests that break things (about half an hour)
	@scripts/chaos
	@scripts/chaos-daemon

sanitize: deps ## Test and fuzz the C code under AddressSanitizer and UBSan
	@scripts/sanitize

fuzz: deps ## Fuzz every target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

lint: deps ## Check formatting, Go code, scripts and the systemd units
	@scripts/install-deps lint
	@unformatted=$$($(TOOL) gofumpt -l .) && test -z "$$unformatted" || \
	  { echo "not gofumpt-ed:" $$unformatted; exit 1; }
	go vet -tags cloudflared,versitygw,fleet ./...
	$(TOOL) staticcheck -tags cloudflared,versitygw,fleet ./...
	$(LINTER) run ./...
	shellcheck -x $(SCRIPTS)
	@scripts/check-unit systemd/*.service

lint-worker: ## Check the formatting and the code of the Worker (npm run format fixes the former)
	@scripts/install-deps npm
	@scripts/test-worker lint

site: ## Build the documentation as a site in docs/site/dist/, and check its links
	@scripts/install-deps npm
	@scripts/site

alerts: ## Check the alert rules with promtool
	@scripts/check-alerts

format: ## Format the Go code
	$(TOOL) gofumpt -w .

vuln: deps ## Look for known vulnerabilities in what the binaries call
	@scripts/vuln

fresh: ## Run the demo and all tests in a minimal root of the other Debian (root; see scripts/test-fresh --help)
	@scripts/test-fresh

clean: ## Remove what the targets above made
	rm -rf bin dist .cache .demo .run .fleet worker/node_modules worker/.wrangler worker/site/app.js worker/site/client.js worker/site/sw.js worker/site/openapi.json worker/client/dist docs/site/dist docs/site/.cache docs/site/node_modules scripts/tools/node/node_modules bench/sharp/node_modules
