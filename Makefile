# Everything a newcomer or a builder of Oversight needs. `make` alone lists the targets.
# Needs python3 (3.11 or newer) with venv, make and git; no compiler, no root.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
CACHE  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/oversight

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

# Tools that only maintainers and client tests need, pinned here and nowhere else.
UV_VERSION := 0.13.9
MC_VERSION := v0.0.0-20250313080218-cf909e1063a9
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c

RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
DATAHUB := $(VENV)/.datahub-installed
SCRIPTS := storage/console/pages $(wildcard tests/clients/js/*.mjs)
JS      := tests/clients/js/node_modules/.package-lock.json
GO_SDK  := $(CACHE)/go-client/client
JAVA_SDK := $(CACHE)/java-client/Client.class
MC      := $(CACHE)/mc-$(MC_VERSION)/mc
MINIO   := $(CACHE)/minio-$(MINIO_VERSION)/minio

.PHONY: help screenshots run env test test-stack-full lint format bench soak fuzz image clients js-clients go-client java-client mc minio datahub lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

run: $(RUNTIME) ## Serve S3 on http://localhost:9090, console port 9091 (options: ARGS="--workers 2")
	@exec $(BIN)/oversight serve $(ARGS)

env: $(RUNTIME) ## Write a .env with own secrets for the stacks (options: ARGS="--publish 0.0.0.0")
	@$(BIN)/oversight env $(ARGS)

# Without options those with a browser run by themselves: Chromium breaks off its requests when a network interface
# comes or goes, which the containers of other tests make happen.
BROWSER := tests/console tests/clients/test_forms.py
test: $(DEV) ## Run all tests (REQUIRE_ALL=1: a skipped test fails; options: ARGS="-k multipart")
	@$(BIN)/pytest -n $(JOBS) --dist loadfile $(or $(ARGS),$(addprefix --ignore=,$(BROWSER))); first=$$?; \
	$(if $(ARGS),exit $$first,$(BIN)/pytest -n $(JOBS) --dist loadfile $(BROWSER_ARGS) $(BROWSER) && exit $$first)

test-stack-full: $(DEV) ## Run the stacks' tests with the real images (needs Docker, a registry, 16 GiB)
	@OVERSIGHT_REAL_IMAGES=1 $(BIN)/pytest tests/bundle/full_stack.py $(ARGS)

lint: $(DEV) ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/oxlint --deny-warnings --allow no-control-regex --deny no-sequences $(SCRIPTS)
	@$(BIN)/oxfmt --check $(SCRIPTS)
	@$(BIN)/mypy

format: $(DEV) ## Apply the formatter
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/oxfmt $(SCRIPTS)

screenshots: $(DEV) ## Take the README's pictures of the running console (needs chromium)
	@$(BIN)/python -m tests.console.pictures

bench: $(DEV) ## Measure this store, the floor and the peers present (needs wrk)
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(DEV) ## Kill the store again and again and check every acknowledged byte (SECONDS_OF_SOAK=600)
	@$(BIN)/python -m tests.fault.soak $(ARGS)

fuzz: $(DEV) ## Play random requests and histories for long (SECONDS_OF_FUZZ=600, ARGS="--seed 1")
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS_OF_FUZZ),600) $(ARGS)
	@$(BIN)/pytest tests/property -n $(JOBS) -q --timeout 0 --hypothesis-profile fuzz

image: ## Build the store's image (OVERSIGHT_BASE=... for another base, see docs/container.md)
	@docker build --file compose/Dockerfile $(if $(OVERSIGHT_BASE),--build-arg BASE=$(OVERSIGHT_BASE)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) \
		--build-arg CREATED=$$(date -u +%Y-%m-%dT%H:%M:%SZ) --tag oversight-store/oversight:$(VERSION) \
		$(if $(BUILD_NETWORK),--network $(BUILD_NETWORK)) $(ARGS) .

clients: mc js-clients go-client java-client ## Get the client tests' tools that are not Python (needs go, npm and mvn, no root)

datahub: $(DATAHUB) ## Get DataHub's SDK and command line (about 450 MB) for their tests

mc: $(MC)

minio: $(MINIO) ## Build MinIO's last source, which migration is tested against (needs go; takes minutes)

js-clients: $(JS)

go-client: $(GO_SDK) ## Build the tests' program with the AWS SDK for Go (needs go)

java-client: $(JAVA_SDK) ## Build the tests' program with the AWS SDK for Java (needs a JDK and mvn)

$(MC):
	@echo "Building mc $(MC_VERSION) (about two minutes, once) ..."
	@GOBIN=$(@D) GOFLAGS=-buildvcs=false go install github.com/minio/mc@$(MC_VERSION)

# Without debugging information: it would double what the linker needs in memory.
$(MINIO):
	@echo "Building minio $(MINIO_VERSION) (about five minutes on two cores, once) ..."
	@GOBIN=$(@D) GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
		go install -ldflags "-s -w" github.com/minio/minio@$(MINIO_VERSION)

$(GO_SDK): $(wildcard tests/clients/go/*)
	@cd tests/clients/go && GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -o $@ .

$(JAVA_SDK): $(wildcard tests/clients/java/*)
	@rm -rf $(@D) && mkdir -p $(@D)
	@mvn --quiet --batch-mode --file tests/clients/java dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory=$(@D)/lib
	@javac -d $(@D) -cp '$(@D)/lib/*' tests/clients/java/Client.java

$(JS): tests/clients/js/package-lock.json
	@cd $(<D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

lock: $(DEV) ## Resolve the dependencies anew and pin them with hashes
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(call compile,requirements.lock)
	@$(call compile,requirements-dev.lock --extra dev --constraint requirements.lock)
	@$(call compile,requirements-image.lock --extra otel --extra tables --constraint requirements-dev.lock)
	@$(call compile,requirements-datahub.lock --extra dev --extra datahub --constraint requirements-dev.lock)

# Indexes and folders of this machine must not leak into the lock: no URL, no path, public hashes.
compile = env -u PIP_FIND_LINKS -u UV_FIND_LINKS UV_NO_CONFIG=1 $(BIN)/uv pip compile --quiet --upgrade \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --custom-compile-command "make lock" pyproject.toml --group build --output-file $(1)

clean: ## Remove what make made, except data
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		tests/clients/js/node_modules
	@find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +

# -- the environment ---------------------------------------------------------------------------
# The stamps make a second call start at once; a changed lock or pyproject.toml renews them.
# The project's build tool is locked like everything else, so nothing is built in isolation.

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing: install python3 (3.11 or newer)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Oversight needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

install = printf 'Installing %s pinned packages into $(VENV), once ... ' "$$(grep -c '==' $(1))"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes --only-binary :all: --requirement $(1) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
		--no-index --no-deps --no-build-isolation --editable . && \
	echo done

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@$(call install,requirements.lock)
	@touch $@

$(DEV): requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	@$(call install,requirements-dev.lock)
	@touch $@ $(RUNTIME)

# Two of its packages exist as source alone; both are pure Python.
$(DATAHUB): requirements-datahub.lock $(DEV)
	@printf 'Installing DataHub into $(VENV), once ... '
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
		--only-binary :all: --no-binary linear-tsv,unicodecsv --no-build-isolation \
		--requirement requirements-datahub.lock
	@echo done
	@touch $@
