# Every target works on a machine with Python 3.11 or later and nothing else: uv is found, or brought into .uv/.
UV = $(shell command -v uv || echo .uv/bin/uv)
RUN = $(UV) run

.DEFAULT_GOAL := help
.PHONY: uv help secrets demo test unit test-up coverage mutants install setup smoke-test format lint type-check bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: uv ## Watch two weeks of life in a little over a minute (no accounts, no services)
	$(RUN) maia demo

test: uv ## Run the whole test-suite on real components
	$(RUN) pytest -n 2 --dist worksteal -q

unit: uv ## Run the tests of the modules by themselves
	$(RUN) pytest -n 2 --dist worksteal -q atlas/tests maia/tests

coverage: uv ## Measure which branches of atlas and maia the suite takes
	$(RUN) coverage erase
	$(RUN) coverage run -m pytest -n 2 --dist worksteal -q
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

mutants: uv ## Plant defects, one at a time, and see that the tests notice each
	$(RUN) alkyone mutants

install: uv ## Install the three members and the tools into .venv
	$(UV) sync

setup: uv ## Provision or upgrade the database of your settings
	$(RUN) atlas setup

smoke-test: uv ## Ask whether the services of your settings answer
	$(RUN) atlas health

format: uv ## Format and mend the code
	$(RUN) ruff format
	$(RUN) ruff check --fix
	cp prefect.yaml maia/src/maia/prefect.yaml # a link would not survive every way of getting the files

test-up: uv ## Run the tests that keep a whole machine up for minutes
	$(RUN) pytest -m machine -n 0 alkyone/tests/faults

RANDOM_HEX = od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
SECRET = test -s secrets/$(1) || { $(2); } > secrets/$(1)

secrets: ## Make the files of secrets that docker-compose.yml names, those that are not there
	@mkdir -p -m 700 secrets
	@$(call SECRET,postgres_password,$(RANDOM_HEX))
	@$(call SECRET,grafana_password,$(RANDOM_HEX))
	@$(call SECRET,database_url,printf postgresql://pleiades:%s@postgres:5432/pleiades "$$(cat secrets/postgres_password)")
	@$(call SECRET,database_writer_url,printf postgresql://pleiades_writer:%s@postgres:5432/pleiades "$$($(RANDOM_HEX))")
	@$(call SECRET,database_reader_url,printf postgresql://pleiades_reader:%s@postgres:5432/pleiades "$$($(RANDOM_HEX))")
	@$(call SECRET,youtube_api_key_pool_json,echo '[]')
	@chmod 644 secrets/* # the containers' account is not yours; the folder keeps others out
	@echo 'Put your API key into secrets/youtube_api_key_pool_json: ["AIza…"]'

lint: uv ## Check format, lint and import contracts, deployment files
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) lint-imports
	$(RUN) check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

type-check: uv ## Check the types, by mypy and pyright
	$(RUN) mypy
	$(RUN) pyright

bench: uv ## Measure, beside the naive way and the peers
	$(RUN) alkyone bench

clean: ## Remove what the tools left behind
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

uv:
	@command -v uv >/dev/null || test -x .uv/bin/uv || { \
	  python3 -c 'import sys; sys.exit("Pleiades needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)' && \
	  { python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv || python3 -m pip install --quiet --target .uv uv; }; }
