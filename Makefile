# Fedward: one line a verb. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
SOURCES := $(shell find custom -type f -not -name '*.pyc' -not -path '*.egg-info/*')

.PHONY: help setup check test rehearse demo bench kit bundle reference dashboards clean

help: ## list the verbs
	@grep -hE "^[a-z]+:.*##" $(MAKEFILE_LIST) | sed -E "s/^([a-z]+):.*## (.*)/  make \1|\2/" | column -t -s "|"

setup: $(VENV)/.fedward ## virtual environment, pinned libraries, Fedward's own wheel

check: setup ## what CI runs first: formatting, lint, types, layout, every job's settings, deploy/, the pins' ages
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	for job in jobs/*/; do $(RUN)/fedward job check $$job; done
	$(RUN)/python docs/layout.py
	deploy/validate.sh
	$(RUN)/python deploy/pins.py

test: setup ## every test, real federations among them, two files at a time, each on one thread
	OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

rehearse: setup ## the slow tests: bundle without a network, image, joining, a compromise, networks apart (half an hour)
	FEDWARD_REHEARSE=1 OMP_NUM_THREADS=1 $(RUN)/pytest \
		tests/integration/deployment/test_{bundle,containers,joining,compromised,namespaces}.py \
		tests/integration/federation/test_planted_causes.py

demo: setup ## three hospitals, a server, a job, a report in build/demo
	$(RUN)/fedward demo

bench: setup ## measurements side by side: index, overhead, dp_step, encryption, dashboard (half an hour)
	$(RUN)/python bench/index.py
	$(RUN)/python bench/overhead.py
	$(RUN)/python bench/dp_step.py
	$(RUN)/python bench/encryption.py
	$(RUN)/python bench/encrypted_round.py
	$(RUN)/python bench/encrypted_auc.py
	$(RUN)/python bench/dashboard.py

kit: setup ## startup kits for provisioning/federation.yml in build/federation
	$(RUN)/fedward federation provision provisioning/federation.yml

bundle: setup ## air-gapped bundle in build/bundle; KIT=folder puts a hospital's kit in
	deploy/bundle/make.sh $(KIT)

reference: setup ## docs/reference.md, docs/messages.md, the table of rooms and the reports' JSON schemas from the code
	$(RUN)/python docs/reference.py
	$(RUN)/python docs/messages.py
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
