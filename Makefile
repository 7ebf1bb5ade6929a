# `make demo` runs the whole loop on a made-up shop, `make test` runs the tests. Each installs what
# it needs into .venv first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo ladder study test test-slow bench bench-history lint lock

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:
	@echo "make demo       the whole loop on a made-up shop: log, lake, model, lists, hints, evaluation"
	@echo "make ladder     every model and baseline, trained and judged on one made-up shop, in data/ladder"
	@echo "                (LADDER='--shop low_loyalty --models direct_il_sft', AIGQ_HOME=elsewhere: another)"
	@echo "make study      IL-GRPO against GRPO from the ladder's models: three seeds, ablations, curves"
	@echo "                (STUDY='--variants direct --seeds 1' for less)"
	@echo "make test       the tests"
	@echo "make test-slow  the tests that take longer than a minute each"
	@echo "make bench      times of the sample warehouse beside its peers (PAGE_VIEWS=0.1 million; 0.1,0.3,1,3)"
	@echo "make bench-history  what a day costs after 32, 64 and 128 days of history"
	@echo "make lint       format and lint checks"
	@echo "make lock       resolve requirements/cpu.lock anew"

install: .venv/.installed

.venv/.installed: requirements/cpu.lock requirements/install.sh pyproject.toml
	@requirements/install.sh

demo: install
	@python -m aigq.demo

ladder: install
	@AIGQ_HOME=$${AIGQ_HOME:-data/ladder} python -m aigq.ladder $(LADDER)

study: install
	@AIGQ_HOME=$${AIGQ_HOME:-data/ladder} python -m training.il_grpo.study $(STUDY)

test: install
	@python -m pytest -m "not slow and not gpu" -n 2 --dist loadgroup --no-loadscope-reorder

test-slow: install
	@python -m pytest -m slow

PAGE_VIEWS ?= 0.1
bench: install
	@python tests/bench/bench.py --page-views $(PAGE_VIEWS)

bench-history: install
	@python tests/bench/history.py

lint: install
	@ruff check . && ruff format --check .

lock: install
	@python -m pip install --quiet uv
	@python -m uv pip compile pyproject.toml --extra cpu --extra dev --python-version 3.11 \
	    --torch-backend cpu --no-annotate --no-header --output-file requirements/cpu.lock
