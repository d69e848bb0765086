# `make` lists the targets. Everything happens inside this checkout: .venv, .penstock, node_modules.
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
BIN     := .venv/bin
RUN     := .venv/.run
DEV     := .venv/.dev
NODE    := tests/node/node_modules/.installed
JS      := clients/javascript
JSDIST  := $(JS)/dist/index.mjs
UV_FLAGS := --quiet --python $(BIN)/python --require-hashes
XDIST   ?= auto

.DEFAULT_GOAL := help
.PHONY: help install serve dev worker test test-quick lint format clients docs docs-check bench drill eval train wheel \
	check lock clean chromium redis postgresql nginx

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(DEV) $(NODE) $(JSDIST) ## Set everything up without starting anything
	@$(BIN)/penstock --version

serve: $(RUN) ## Set up and serve on http://127.0.0.1:8000
	@$(BIN)/penstock serve

dev: $(DEV) ## Serve with reload
	@$(BIN)/penstock serve --reload

worker: $(RUN) ## Set up and run jobs without a web
	@$(BIN)/penstock worker

test: $(DEV) $(NODE) $(JSDIST) chromium redis postgresql nginx ## Set up and run every test
	$(BIN)/python -m pytest -n $(XDIST)

test-quick: $(DEV) ## The tests that need neither node nor a second process
	$(BIN)/python -m pytest -n $(XDIST) -m "not slow"

lint: $(DEV) ## ruff, mypy --strict, import contracts, spelling
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	cd clients/python && ../../$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(DEV) ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix-only .

clients: $(JSDIST) ## Build the JavaScript client and check its package
	@cd $(JS) && npm run --silent check

docs: $(DEV) ## Regenerate openapi.json, the reference pages and the README table
	$(BIN)/python docs/generate.py

docs-check: $(DEV) ## Fail when a generated page differs from its source
	$(BIN)/python docs/generate.py --check

bench: $(DEV) redis postgresql ## Measure every claim; writes benchmarks/results
	$(BIN)/uv pip install $(UV_FLAGS) -r requirements/bench.lock
	$(BIN)/python -m benchmarks

drill: $(DEV) redis postgresql nginx ## Long fault drills
	$(BIN)/python -m pytest -m drill tests/drills

eval: $(DEV) ## Quality of the local model on data given by DATA=folder; REGRESSIONS=file.jsonl replays what people overturned
	$(BIN)/python -m training.evaluate $(DATA) $(if $(REGRESSIONS),--regressions $(REGRESSIONS))

train: $(DEV) ## Train the local model from DATA=folder
	$(BIN)/uv pip install $(UV_FLAGS) -r requirements/training.lock
	$(BIN)/python -m training.train $(DATA)

wheel: $(DEV) ## Build the wheel, install it into an empty environment and serve from it
	$(BIN)/python tests/project/wheel.py

check: lint docs-check test ## What CI runs

lock: $(DEV) ## Recompile the hash locks
	requirements/lock.sh $(BIN)/uv

clean: ## Remove what make made, except data in .penstock
	rm -rf .venv dist tests/node/node_modules $(JS)/node_modules $(JS)/dist .import_linter_cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Penstock needs Python 3.11 or later; found: $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(RUN): requirements.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install $(UV_FLAGS) -r requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(DEV): requirements/dev.lock pyproject.toml clients/python/pyproject.toml | $(RUN)
	@$(BIN)/uv pip install $(UV_FLAGS) -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e clients/python
	@touch $@

$(NODE): tests/node/package-lock.json
	@cd tests/node && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(JS)/node_modules/.installed: $(JS)/package-lock.json
	@cd $(JS) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(JSDIST): $(JS)/node_modules/.installed $(wildcard $(JS)/src/*.ts) $(wildcard $(JS)/*.json) $(JS)/tsdown.config.ts
	@cd $(JS) && npm run --silent build
	@touch $@

# What a test or a benchmark needs beside Python and node: used where it is, else installed on Debian by root, else named.
chromium: ## Have a Chromium for the browser tests
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| $(call debian,chromium)

redis: ## Have a redis-server
	@command -v redis-server >/dev/null || $(call debian,redis-server)

postgresql: ## Have PostgreSQL's programs; a server that runs is never touched
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || $(call debian,postgresql)

nginx: ## Have an nginx
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || $(call debian,nginx-light)

debian = { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; } \
	|| { echo "$(1) is needed; run as root: apt-get install -y --no-install-recommends $(1)"; exit 1; }
