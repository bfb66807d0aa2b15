# Fedward: one line a verb. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
SOURCES := $(shell find custom -type f -not -name '*.pyc' -not -path '*.egg-info/*')

.PHONY: help setup check test test-quick rehearse demo bench kit bundle reference dashboards clean

help: ## list the verbs
	@grep -hE "^[a-z-]+:.*##" $(MAKEFILE_LIST) | sed -E "s/^([a-z-]+):.*## (.*)/  make \1|\2/" | column -t -s "|"

setup: $(VENV)/.fedward ## virtual environment, pinned libraries, Fedward's wheel

check: setup ## format, lint, types, layout, jobs, deploy files, age of pins
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	for job in jobs/*/; do $(RUN)/fedward job check $$job; done
	$(RUN)/python docs/layout.py
	deploy/validate.sh
	$(RUN)/python deploy/pins.py

test: setup ## all tests, real federations among them (20 minutes, 2 cores)
	OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-quick: setup ## tests for every edit: no federation, nothing slow (4 minutes)
	OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 -m "not integration and not slow"

rehearse: setup ## slow tests: bundle, image, joining, faults (an hour)
	FEDWARD_REHEARSE=1 OMP_NUM_THREADS=1 $(RUN)/pytest \
		tests/integration/deployment/test_{bundle,containers,joining,compromised,namespaces}.py \
		tests/integration/federation/test_{planted_causes,slow_line}.py \
		tests/integration/faults

demo: setup ## three hospitals, a server, a job, a report in build/demo
	$(RUN)/fedward demo

bench: setup ## measure: index, overhead, load, DP, encryption (an hour)
	$(RUN)/python bench/index.py
	$(RUN)/python bench/overhead.py
	$(RUN)/python bench/ten_rounds.py
	$(RUN)/python bench/load.py
	$(RUN)/python bench/dp_step.py
	$(RUN)/python bench/encryption.py
	$(RUN)/python bench/masks.py
	$(RUN)/python bench/robust.py
	$(RUN)/python bench/encrypted_round.py
	$(RUN)/python bench/sum_rounds.py
	$(RUN)/python bench/encrypted_auc.py
	$(RUN)/python bench/dashboard.py

kit: setup ## startup kits of provisioning/federation.yml, build/federation
	$(RUN)/fedward federation provision provisioning/federation.yml

bundle: setup ## air-gapped bundle in build/bundle; KIT=folder adds a kit
	deploy/bundle/make.sh $(KIT)

reference: setup ## write generated pages and JSON schemas from the code
	$(RUN)/python docs/reference.py
	$(RUN)/python docs/messages.py
	$(RUN)/python docs/parts.py
	$(RUN)/python docs/layout.py --write
	$(RUN)/python -m fedward.reporting.schema custom/fedward/reporting

dashboards: setup ## Grafana dashboards in deploy/monitoring from their code
	$(RUN)/python deploy/monitoring/dashboards.py

clean: ## remove what was built, keep the virtual environment
	rm -rf build

$(VENV)/.libraries: pyproject.toml constraints.txt deploy/install.sh
	PYTHON=$(PYTHON) deploy/install.sh $(VENV)
	touch $@

$(VENV)/.fedward: $(VENV)/.libraries $(SOURCES)
	rm -rf build/lib build/bdist.* build/wheel
	$(RUN)/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir build/wheel .
	$(RUN)/pip install --quiet --no-deps --no-index --force-reinstall build/wheel/fedward-*.whl
	touch $@
