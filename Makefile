# Settings for up and demo:
PORT ?= 4566
CHAPA_URL ?=
ORDER_TTL_SECONDS ?=
PARAMS ?=
export PORT CHAPA_URL ORDER_TTL_SECONDS PARAMS

# Whatever virtual environment this was called from is not the one it works in.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export SAM_CLI_TELEMETRY := 0

PYTHON := .venv/bin/python
# Nothing but `operate` is for anybody's AWS account.
LOCAL := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE -u AWS_ENDPOINT_URL $(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help up down demo operate test nightly soak bite mutation lint setup clean

help:
	@echo 'make demo    show the whole way of a payment on a local AWS'
	@echo 'make test    check style, types and template, and run every test'
	@echo 'make nightly the same tests, searching for hours of schedules and histories instead of a minute'
	@echo 'make soak    thousands of orders on a local AWS where a tenth of everything goes wrong (ORDERS=2000 SEED=...)'
	@echo 'make bite    plant known bugs one at a time, and see that a test finds each'
	@echo 'make mutation  change the code at random, and see which changes no test notices'
	@echo 'make up      start the local AWS and the Chapa simulator, deploy, and keep them running'
	@echo 'make down    stop them'
	@echo 'make lint    check style, types and template only'
	@echo 'make clean   remove everything that was made here'
	@echo
	@echo 'Settings for up: PORT=4566  CHAPA_URL=http://127.0.0.1:.../v1  ORDER_TTL_SECONDS=1800'
	@echo '                 PARAMS="Name=value ..." (any parameter of template.yaml)'

setup:
	@sandbox/venv.sh .venv requirements.txt .sandbox/ministack sandbox/ministack.txt

runtime:
	@sandbox/venv.sh .venv sandbox/requirements.txt .sandbox/ministack sandbox/ministack.txt

up: setup
	@$(LOCAL) -m sandbox.stack up

# Without a virtual environment nothing can have been started.
down:
	@if [ -x $(PYTHON) ]; then $(LOCAL) -m sandbox.stack down; else echo 'Nothing is running.'; fi

demo: setup
	@$(LOCAL) -m sandbox.demo

# With the credentials and the region of whoever calls it: make operate ARGS="show ORDER_ID"
operate: setup
	@PYTHONPATH=shared $(PYTHON) -m operators $(ARGS)

lint: setup
	@$(PYTHON) -m ruff check --quiet
	@$(PYTHON) -m ruff format --check --quiet
	@$(PYTHON) -m mypy --no-error-summary
	@$(LOCAL) -m samcli validate --lint

test: lint
	@$(LOCAL) -m pytest -q --numprocesses=auto --dist=loadgroup

nightly: lint
	@NIGHTLY=1 $(LOCAL) -m pytest -q --numprocesses=auto --dist=loadgroup

soak: setup
	@$(LOCAL) -m tests.soak

bite: setup
	@$(LOCAL) -m tests.seeded_bugs

mutation: setup
	@$(LOCAL) -m tests.mutation $(MODULES)

clean: down
	@rm -rf .venv .sandbox .aws-sam .mypy_cache .pytest_cache .ruff_cache
