# Settings for `make up`; PROVIDER is one for `make demo` and `make soak`, too.
PROVIDER ?=
PORT ?= 4566
CHAPA_URL ?=
ORDER_TTL_SECONDS ?=
PARAMS ?=
FRESH ?=
export PROVIDER PORT CHAPA_URL ORDER_TTL_SECONDS PARAMS FRESH

# The caller's virtual environment is not used. Python keeps what it has compiled: without that,
# each program starts seconds later.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export SAM_CLI_TELEMETRY := 0
export SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON := .venv/bin/python
# These commands do not use the caller's AWS account; `./operate` does.
LOCAL := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE -u AWS_ENDPOINT_URL $(PYTHON)
TESTS := $(LOCAL) -m pytest -q --numprocesses=auto --dist=loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo up down test lint security nightly soak bite mutation bench runtime setup clean

help:
	@echo 'Try it'
	@echo '  make demo      run payments from start to end on a local AWS, and check each step'
	@echo '  make up        start the local AWS and the Chapa simulator, deploy, and keep them running'
	@echo '  make down      stop them; the next `make up` has the same tables, queues and users'
	@echo
	@echo 'Work on it'
	@echo '  make test      lint, and run all tests'
	@echo '  make lint      check style, types, template and workflows'
	@echo '  make security  check the templates with checkov, and the packages for known vulnerabilities'
	@echo '  make setup     install everything (the other commands install what they need)'
	@echo '  make clean     stop everything, and delete what these commands made'
	@echo
	@echo 'Test it for longer'
	@echo '  make nightly   run the tests with all injected faults and far more schedules'
	@echo '  make soak      place thousands of orders while faults are injected (ORDERS=2000 SEED=...)'
	@echo '  make bite      seed known bugs, one at a time, and check that a test finds each'
	@echo '  make mutation  change the code at random, and list the changes that no test finds'
	@echo '  make bench     measure speed, sizes and costs beside a baseline; writes bench/results.md (half an hour)'
	@echo
	@echo 'Operate it, in the AWS account of the environment or (with --local) on the stack of `make up`'
	@echo '  ./operate --help'
	@echo
	@echo 'Settings for demo, up and soak: PROVIDER=v2 (payments with a key of v2; without it v1)'
	@echo
	@echo 'Settings for make up: PORT=4566  CHAPA_URL=http://127.0.0.1:.../v1  ORDER_TTL_SECONDS=1800'
	@echo '                      PARAMS="Name=value ..." (parameters of template.yaml)'
	@echo '                      FRESH=1 (start with empty tables)'

demo: runtime
	@$(LOCAL) -m sandbox.demo

up: runtime
	@$(LOCAL) -m sandbox.stack up

# Without a virtual environment nothing was started.
down:
	@if [ -x $(PYTHON) ]; then $(LOCAL) -m sandbox.stack down; else echo 'Nothing is running.'; fi

# Side by side: the tests leave time of the processor to lint.
test: setup
	@$(MAKE) --no-print-directory --jobs=3 lint-all pytest

.PHONY: pytest
pytest: setup
	@$(TESTS)

# The checks run side by side; each shows its output if it fails.
lint: setup
	@$(MAKE) --no-print-directory --jobs=2 lint-all

.PHONY: lint-all
lint-all: lint-types lint-template lint-rest
	@echo 'No lint errors.'

quietly = @output=$$($(1) 2>&1) || { printf '%s\n' "$$output"; exit 1; }

.PHONY: lint-types lint-template lint-rest
lint-types:
	$(call quietly,$(PYTHON) -m mypy --no-error-summary)
lint-template:
	$(call quietly,cfn-lint --regions us-east-1 --template template.yaml edge.yaml)
lint-rest:
	$(call quietly,$(PYTHON) -m ruff check --quiet)
	$(call quietly,$(PYTHON) -m ruff format --check --quiet)
	$(call quietly,$(PYTHON) -m bandit --quiet --configfile pyproject.toml --recursive shared functions operators)
	$(call quietly,zizmor --quiet --offline --no-progress .github)

# Asks a public database which versions of packages are known to be vulnerable.
security: setup
	@sandbox/venv.sh .sandbox/security sandbox/security.txt
	@AWS_DEFAULT_REGION=eu-central-1 $(PYTHON) -m tests.template > .sandbox/template.json
	@.sandbox/security/bin/checkov --config-file .checkov.yaml --file .sandbox/template.json edge.yaml
	@.sandbox/security/bin/pip-audit --strict --disable-pip --no-deps --requirement shared/requirements.txt

nightly: lint
	@NIGHTLY=1 $(TESTS)

soak: setup
	@$(LOCAL) -m tests.soak

bite: setup
	@$(LOCAL) -m tests.seeded_bugs

mutation: setup
	@$(LOCAL) -m tests.mutation $(MODULES)

# Each prints its tables; `bench.results` puts them into bench/results.md. `memory` and `order` read
# what `cold` and `warm` printed.
BENCHES := layer cold warm counts order memory sweep flash backlog throughput

bench: setup
	@mkdir -p .bench
	@set -e; for name in $(BENCHES); do \
	    echo "bench.$$name ..."; \
	    PYTHONPATH=shared $(LOCAL) -m bench.$$name > .bench/$$name.new; \
	    mv .bench/$$name.new .bench/$$name.md; \
	done
	@$(LOCAL) -m bench.results

# What demo, up and ./operate need. `make setup` installs the tools of tests and lint besides.
runtime:
	@sandbox/venv.sh .venv sandbox/requirements.txt .sandbox/ministack sandbox/ministack.txt

setup:
	@sandbox/venv.sh .venv requirements.txt .sandbox/ministack sandbox/ministack.txt

clean: down
	@rm -rf .venv .sandbox .aws-sam .bench .hypothesis .mypy_cache .pytest_cache .ruff_cache
