# Needs Python 3.11 or newer and git. The first target that is made installs everything else into .venv.
#
#   make repro              the whole experiment, then where to look
#   make test               the tests in some minutes; ARGS="-k sphere" chooses, ARGS="-m slow" runs the long ones
#   make study              the user study, on the videos that repro made
#   make lint               ruff and mypy
#   make lock               requirements.lock anew from pyproject.toml
#
# The first time, TORCH=cpu (make repro TORCH=cpu) installs CPU builds of torch and torchvision: several GB less disk.

TORCH ?= $(if $(wildcard .venv/installed-cpu),cpu,cuda)
ARGS ?=
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
INSTALLED := .venv/installed-$(TORCH)
PROFILE = $(shell sed -n 's/^profile: *\([a-z0-9_]*\).*/\1/p' params.yaml)

# Threads are fixed because sums depend on how they are split: same machine, same videos, to the bit. Nothing is
# fetched from model hubs, and nothing reports home.
export OMP_NUM_THREADS ?= $(CORES)
# glibc hands large blocks back to the system after every use; keeping them saves a training step a quarter of its time.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184
export MALLOC_TOP_PAD_ ?= 268435456
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_OFFLINE ?= 1
export DVC_NO_ANALYTICS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= 1

.PHONY: help repro test study lint format lock
.DELETE_ON_ERROR:

help:
	@sed -n '3,9s/^# \{0,3\}//p' Makefile

repro: $(INSTALLED)
	@panobench params --quiet
	@dvc repro
	@echo
	@echo "Report   outputs/$(PROFILE)/report/index.html"
	@echo "Videos   outputs/$(PROFILE)/videos/"
	@echo "MLflow   .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"
	@echo "Study    make study"

test: $(INSTALLED)
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

study: $(INSTALLED)
	@panobench study serve $(ARGS)

lint: $(INSTALLED)
	@ruff check .
	@ruff format --check .
	@mypy

format: $(INSTALLED)
	@ruff check --fix-only --quiet .
	@ruff format .

lock: $(INSTALLED)
	@scripts/lock

$(INSTALLED): requirements.lock pyproject.toml scripts/install
	@scripts/install $(TORCH)
