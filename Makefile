# One word for each thing people and CI do here; `make help` lists them. Options for the tool behind a target: ARGS="...".
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# One engine extra, never two: `make setup EXTRAS=gpu,sim` on x86 with CUDA.
EXTRAS ?= cpu,sim
# pip options for torch alone, for example an index of CPU builds.
TORCH_ARGS ?=
# Training data: one shard is 12 rooms, 40 views of each.
SHARDS ?= 64
# Tests side by side; those that measure real time run before them, alone.
JOBS ?= 2
ARGS ?=

PY := $(VENV)/bin/python
# -qq: errors only; what is being installed is said by the lines below.
PIP := $(PY) -m pip -qq --disable-pip-version-check install
# torch goes in first and by itself: any range that another package states would fetch the newest CUDA build.
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' setup.py)

# Whose every branch must be run.
SAFETY := tests/guard tests/bases tests/inputs

# pytest's exit code where nothing was selected.
NONE := 5

comma := ,
RUNTIME := $(VENV)/.runtime-$(subst $(comma),-,$(EXTRAS))
LEARN := $(VENV)/.learn
TOOLS := $(VENV)/.tools
PROOF := $(VENV)/.proof
GL := $(VENV)/.gl
GST := $(VENV)/.gst

.PHONY: help setup setup-learn run test check lint types format safety test-faults mutants fuzz soak evaluate bench jetson-check train-default export-default wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(RUNTIME) $(GL)  ## .venv with the runtime: camera, engine, guard, simulator; no torch
	@echo "ready: make run"

setup-learn: $(LEARN) $(GL)  ## adds training and export (torch)
	@echo "ready: make train-default, make export-default"

run: $(RUNTIME) $(GL)  ## the robot finds a cup; ARGS="--target ball --seed 7"
	@$(PY) -m edge_vla.run --goal find_object --target cup $(ARGS)

test: $(LEARN) $(TOOLS) $(GL) $(GST)  ## every test that needs no Jetson; ARGS="tests/guard -k clamp"
	@alone=0; $(PY) -m pytest -m "deadline and not jetson" $(ARGS) || alone=$$?; [ $$alone -eq 0 -o $$alone -eq $(NONE) ] || exit $$alone; \
	side=0; $(PY) -m pytest -n $(JOBS) --dist loadfile -m "not deadline and not jetson" $(ARGS) || side=$$?; \
	[ $$side -eq $(NONE) -a $$alone -eq 0 ] || exit $$side

check: lint types safety  ## what CI runs: lint, types, and every test once, those of the guard and the bases under `make safety`
	@$(MAKE) --no-print-directory test ARGS="$(SAFETY:%=--ignore=%) $(ARGS)"

lint: $(TOOLS)  ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(LEARN) $(TOOLS)  ## mypy strict
	$(PY) -m mypy

format: $(TOOLS)  ## rewrite the code as `make lint` wants it
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

safety: $(LEARN) $(TOOLS)  ## the guard's and the codecs' tests must run every branch of them, in their processes too
	@$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -q -m "not jetson" $(SAFETY)
	@$(PY) -m coverage combine --quiet 2>/dev/null || true  # what was killed in a test leaves no data, or half of it
	$(PY) -m coverage report --include="edge_vla/guard/*,edge_vla/bases/*" --omit="edge_vla/bases/check.py" --fail-under=100

test-faults: $(LEARN) $(TOOLS)  ## the whole fault matrix, the process tests of it, and 1000 random kill -9: an hour
	$(PY) -m pytest -m "not jetson" tests/faults tests/guard tests/run/test_faults.py
	$(PY) -m tests.faults.table --processes
	$(PY) -m tests.faults.kills --count 1000

mutants: $(LEARN) $(TOOLS) $(PROOF)  ## every small change to limits, wheels, the state machine and each encoder must fail a test: an hour; ARGS="state ev1"
	@CI=1 $(PY) -m tests.mutants $(ARGS)

fuzz: $(RUNTIME) $(TOOLS) $(PROOF)  ## ten minutes of parsers led by coverage (Python 3.11 and later), ten million replies and ticks of a guard: an hour
	$(PY) -m tests.faults.parsers --minutes 10
	$(PY) -m tests.faults.fuzz --jobs $(JOBS)

soak: $(RUNTIME) $(GL)  ## half an hour of driving in the simulator: does memory grow, do ticks come later? ARGS="--minutes 30"
	$(PY) -m benchmarks.soak $(ARGS)

evaluate: $(RUNTIME) $(GL)  ## closed-loop evaluation in held-out rooms; ARGS="--engine oracle --episodes 20"
	@$(PY) -m edge_vla.evaluate --goal find_object --episodes 100 --seed 1000000 $(ARGS)

bench: $(RUNTIME) $(GL)  ## latency of every stage, and the answers; ARGS="--stages engine,guard --compare base.json"
	@$(PY) -m edge_vla.bench $(ARGS)

jetson-check: $(RUNTIME)  ## on a Jetson: builds TensorRT plans, proves and times them, prints a report; ARGS="BUNDLE --looks 500"
	@$(PY) -m export jetson-check $(ARGS)

train-default: $(LEARN) $(GL)  ## render rooms and train the default engine; each step resumes where it stopped
	$(PY) -m edge_vla.learn.data.shards data/train --shards $(SHARDS)
	$(PY) -m edge_vla.learn.data.shards data/validation --shards 3 --validation
	$(PY) -m edge_vla.learn.finder.train --data data/train --out training/finder $(ARGS)

export-default: $(LEARN)  ## the trained weights to engines/default
	$(PY) -m export default $(ARGS)

wheel: $(RUNTIME)  ## dist/edge_vla-*.whl
	rm -rf build dist  # modules that were renamed linger in build and would be packed
	$(PY) -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .
	rm -rf build
	@ls dist

clean:  ## build outputs and caches; keeps .venv, runs, data and engines
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(PY):
	@command -v $(PYTHON) >/dev/null || { echo "setup: no '$(PYTHON)' here; install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(0 if sys.version_info >= (3, 10) else "setup: $(PYTHON) is Python " + v + ", want 3.10 or newer; name another: make PYTHON=python3.12")'
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "setup: $(PYTHON) cannot make virtual environments; on Debian, Ubuntu and JetPack: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) --upgrade pip  # the pip of Ubuntu 22.04 loses its way among mujoco's dependencies

$(RUNTIME): setup.py | $(PY)
	@echo "setup: installing the runtime, edge_vla[$(EXTRAS)] (no torch)"
	@$(PIP) -e ".[$(EXTRAS)]"
	@touch $@

$(LEARN): setup.py $(RUNTIME) | $(PY)
	@echo "setup: installing $(TORCH); its CPU build is 200 MB, its CUDA build several GB"
	@$(PIP) $(TORCH_ARGS) "$(TORCH)"
	@echo "setup: installing training and export, edge_vla[learn,export]"
	@$(PIP) -e ".[$(EXTRAS),learn,export]"
	@touch $@

$(TOOLS): setup.py $(RUNTIME) | $(PY)
	@echo "setup: installing the test and lint tools, edge_vla[test,dev]"
	@$(PIP) -e ".[$(EXTRAS),test,dev]"
	@touch $@

$(PROOF): setup.py $(TOOLS) | $(PY)
	@echo "setup: installing Cosmic Ray and Atheris, edge_vla[proof]"
	@$(PIP) -e ".[$(EXTRAS),proof]"
	@touch $@

$(GST): launch/gstreamer.sh | $(PY)
	@bash launch/gstreamer.sh
	@touch $@

$(GL): launch/gl.sh $(RUNTIME)
	@bash launch/gl.sh $(PY)
	@touch $@
