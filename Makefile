# Two commands for a start: `make demo` and `make test`. Each sets up what it needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-rest test-paused coverage arq-suite crash-points lab lab-full bench soak up lint ops-check check clean
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # the suite starts some 200 processes, and each would compile everything again

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## virtual environment, database and Redis programs (the others call it)
	@scripts/bootstrap

demo: setup ## 2,000 orders through two workers, one of them killed half-way, then the audit
	@$(BIN)/lockstep demo

test: ## the gate: all tests, and of faults, interleavings and the like a sample (under 5 minutes)
	@scripts/bootstrap chromium
	@$(BIN)/python -m tests.suite gate

test-all: ## every test in full, and the coverage that the code has to have
	@scripts/bootstrap chromium
	@$(BIN)/python -m tests.suite all

test-rest: ## what `make test` with the same seed leaves out; MINUTES=25 starts no test after so long
	@scripts/bootstrap chromium
	@$(BIN)/python -m tests.suite rest $(if $(MINUTES),--minutes $(MINUTES))

coverage: ## the tests side by side with coverage, and whether it is high enough
	@scripts/bootstrap chromium
	@$(BIN)/python -m tests.suite coverage

test-paused: ## the gate again, while its processes and servers stand still for 1 to 5 s by turns
	@scripts/bootstrap chromium
	@$(BIN)/python -m tests.suite paused

arq-suite: setup ## arq's own tests, from its sdist, on the worker's Redis pool (40 seconds)
	@$(BIN)/python -m tests.arq_suite

crash-points: setup ## the way of an order broken off at every command, in every manner (3 minutes)
	@LOCKSTEP_TEST_PART=all $(BIN)/python -m pytest tests/end_to_end/test_crash_points.py

lab: setup ## every pitfall on a private MariaDB, and the report in build/lab/index.html
	@LOCKSTEP_TEST_PART=all $(BIN)/python -m pytest tests/lab/test_pitfalls.py tests/lab/traps
	@$(BIN)/python -m tests.lab.report

lab-full: setup ## the real jobs under every interleaving of their statements (many minutes)
	@LOCKSTEP_TEST_PART=all $(BIN)/python -m pytest -s tests/lab/test_interleavings.py

bench: setup ## speed and latency beside a reference worker, the SQL and arq alone, and of starved workers (30 minutes)
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

check: lint test ## before each commit: lint, then the gate

clean: ## remove everything that make has made here
	@rm -rf .venv .lockstep .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache build dist
