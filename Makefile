# Two commands for a start: `make demo` and `make test`. Each sets up what it needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo test crash-points lab lab-full bench soak up lint ops-check check clean
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # the suite starts some 200 processes, and each would compile everything again

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## virtual environment, database and Redis programs (the others call it)
	@scripts/bootstrap

demo: setup ## 2,000 orders through two workers, one of them killed half-way, then the audit
	@$(BIN)/lockstep demo

test: ## the whole suite, on a private MariaDB and Redis, in Chromium where it is about a page, with coverage
	@scripts/bootstrap chromium
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n auto --dist worksteal -m 'not alone'
	@$(BIN)/python -m pytest -m alone
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --include='jobs/*' --fail-under=100
	@$(BIN)/coverage report --include='worker/*' --fail-under=95

crash-points: setup ## the way of an order broken off at every command, in every manner (3 minutes)
	@LOCKSTEP_TEST_FULL=1 $(BIN)/python -m pytest tests/end_to_end/test_crash_points.py

lab: setup ## every pitfall on a private MariaDB, and the report in build/lab/index.html
	@$(BIN)/python -m pytest tests/lab
	@$(BIN)/python -m tests.lab.report

lab-full: setup ## the real jobs under every interleaving of their statements (many minutes)
	@LOCKSTEP_TEST_FULL=1 $(BIN)/python -m pytest -s tests/lab/test_interleavings.py

bench: setup ## speed and latency beside a reference worker, the SQL alone and arq alone (10 minutes)
	@$(BIN)/python -m benchmarks

soak: setup ## ten minutes of orders while everything around them fails, then every check
	@$(BIN)/python -m tests.soak

up: setup ## database, Redis, a worker and the web on port 8080 in the foreground; Ctrl-C stops everything
	@$(BIN)/lockstep up

lint: setup ## ruff, mypy --strict, bandit, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/bandit --quiet --recursive --confidence-level medium --configfile pyproject.toml worker jobs benchmarks
	@$(BIN)/lint-imports --no-cache

ops-check: ## what Prometheus says to the alerts (on series where each has to fire) and to the dashboard's queries
	@scripts/bootstrap promtool
	@promtool check config --syntax-only ops/prometheus/prometheus.yml
	@promtool test rules ops/prometheus/alerts_test.yml
	@mkdir -p build && scripts/dashboard-queries ops/grafana/lockstep.json > build/dashboard-rules.yml
	@promtool check rules build/dashboard-rules.yml

check: lint test ## what CI runs: lint, then test

clean: ## remove everything that make has made here
	@rm -rf .venv .lockstep .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache build dist
