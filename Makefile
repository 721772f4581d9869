# Each target does its own set-up; all that is needed is Python 3.11 or newer, pip and make.

ARGS ?=
RUN := VIRTUAL_ENV= scripts/uv run --quiet --no-sync

.PHONY: help demo test test-slow check format docs docs-check bench crash crash-docs lock setup

help:
	@echo "make demo    try it: a homeserver, the agent and a chat, all on this machine"
	@echo "             (one message: make demo ARGS='--say \"What is 6 times 7?\"')"
	@echo "make test    run the tests (some: make test ARGS='tests/core -k split')"
	@echo "make test-slow  run those that make test leaves out; CI runs both"
	@echo "make check   formatting, lint, types and generated pages"
	@echo "make bench   measure against the least that any bot must do"
	@echo "make crash   kill, cut and freeze everything and judge (SEED=1 TRIALS=50, ONLY=17,"
	@echo "             KINDS=kill,zombie, MUTANT=no_epoch, MUTANTS=1, JSON=results.json)"
	@echo "make docs    write the generated pages anew"
	@echo "make format  format the code"
	@echo "make lock    renew uv.lock"

setup:
	@scripts/setup

# The demo keeps its state in the project, unless told otherwise.
demo: setup
	@ANTIPHON_STATE_DIR="$${ANTIPHON_STATE_DIR:-$(CURDIR)/.antiphon}" $(RUN) antiphon demo $(ARGS)

# How many run at once. More than there are cores is hardly faster, and trips over time-outs.
WORKERS ?= 2

test: setup
	@$(RUN) pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: setup
	@$(RUN) pytest -n $(WORKERS) --dist loadfile -m slow $(ARGS)

check: setup
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) python -m antiphon.cli.docs --check

format: setup
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

docs: setup
	@$(RUN) python -m antiphon.cli.docs

docs-check: setup
	@$(RUN) python -m antiphon.cli.docs --check

bench: setup
	@$(RUN) python -m bench $(ARGS)

SEED ?= 1
TRIALS ?= 50
JOBS ?= 2

crash: setup
	@$(RUN) python -m antiphon.testing.campaign --seed $(SEED) --trials $(TRIALS) --jobs $(JOBS) \
		$(if $(ONLY),--only $(ONLY)) $(if $(KINDS),--kinds $(KINDS)) \
		$(if $(MUTANT),--mutant $(MUTANT)) $(if $(MUTANTS),--mutants) $(if $(JSON),--json $(JSON))

# JSON=: the results that are written into docs/reliability.md.
crash-docs: setup
	@$(RUN) python -m antiphon.testing.campaign --write-docs $(JSON)

lock:
	@scripts/uv lock
