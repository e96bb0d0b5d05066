# `make help` tells all. Every target works from any directory (make -C path), again and again.

.DEFAULT_GOAL := help
.PHONY: help run test check format bench flower neighbours chaos worker clean
python := .venv/bin/python
export PYTHON

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: ## Set up and run the main job: worker, FastAPI and real work on the embedded default
	@scripts/setup run
	@$(python) examples/main_job.py

test: ## Set up and run all tests (ARGS="-k name" to choose)
	@scripts/setup dev
	@scripts/setup interop
	@scripts/ensure-redis
	@$(python) -m pytest -n 4 $(ARGS)

check: ## Check format, lint, types and the direction of imports
	@scripts/setup dev
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m mypy
	@$(python) -m basedpyright
	@$(python) -m pytest -q tests/test_imports.py

format: ## Write the source as the house writes it
	@scripts/setup dev
	@$(python) -m ruff check --fix-only .
	@$(python) -m ruff format .

bench: ## Measure against celery, huey, dramatiq, taskiq, saq, rq (or one question: BENCH=bench/name.py)
	@scripts/setup dev
	@scripts/setup bench
	@scripts/setup bench-saq
	@scripts/ensure-redis
	@for script in $(or $(BENCH),$(sort $(wildcard bench/[a-z]*.py))); do \
		echo "== $$script"; $(python) "$$script" || exit 1; done

chaos: ## Kill, cut and starve workers for MINUTES=30 with SEED=1 (one row at full length: ROW=1 FULL=1); see docs/reliability.md
	@scripts/setup dev
	@scripts/ensure-redis
	@$(if $(ROW)$(ACT),,CANVAS_CASES=$(or $(CASES),10000) $(python) -m pytest -q -n 0 --timeout=3600 --hypothesis-seed=$(or $(SEED),1) \
		tests/canvas/test_faults.py tests/canvas/test_broken_wires.py)
	@PYTHONPATH=tests $(python) -m chaos --seed $(or $(SEED),1) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(ROW),--row $(ROW)) $(if $(ACT),--act "$(ACT)") $(if $(FULL),--full) $(if $(SIZE),--size $(SIZE)) $(if $(ACKS),--acks $(ACKS))

flower: ## Let Flower (in .venv-flower) watch and steer our worker in a true Chromium; pictures go to build/flower/
	@scripts/setup dev
	@scripts/setup interop
	@scripts/setup flower
	@scripts/setup browser
	@scripts/ensure-redis
	@scripts/ensure-chromium
	@$(python) -m pytest tests/interop/flower.py -q -n 0

neighbours: ## Run what others have built on Celery (in .venv-neighbours) through the drop-in; see docs/packages.md
	@scripts/setup dev
	@scripts/setup neighbours
	@scripts/ensure-redis
	@$(python) -m pytest tests/dropin/neighbours.py -q -n 0

worker: ## Start a worker of examples/two_files by hand; Ctrl-C ends it
	@scripts/setup run
	@cd examples/two_files && ../../$(python) -m celeriac -A main.celery worker --loglevel=info

clean: ## Remove environments, caches and what the examples left
	@rm -rf .venv .venv-celery .venv-flower .venv-neighbours .venv-bench .venv-bench-saq .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find examples -name 'celeriac.db*' -prune -exec rm -rf {} +
