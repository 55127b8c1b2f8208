# Each target makes what it needs: Python 3.11 or later and a network are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check bench bench-peers drills lock schemas clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv || (echo "python3 has no venv module: apt-get install python3-venv" >&2; exit 3)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/quarterhour demo --format table

test: install
	$(BIN)/python -m pytest -n 2

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pylint --disable=all --enable=duplicate-code invoicing quarterhour schemas sessionizer sinks streams

bench: install
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.invoices

# Needs a JDK and Maven besides, and says so.
bench-peers: install
	$(BIN)/python -m tests.bench --peers

# About two hours, one of them the soak; each line is a command of its own.
drills: install
	$(BIN)/python -m tests.simulation --seeds 1000
	$(BIN)/python -m tests.simulation --seeds 1000 --patches
	$(BIN)/python -m tests.fuzz --inputs 1000000
	$(BIN)/python -m tests.drills
	$(BIN)/python -m tests.drills.bad_deploy
	$(BIN)/python -m tests.drills.sealing
	$(BIN)/python -m tests.drills.repartition
	$(BIN)/python -m tests.drills.rolling_upgrade
	$(BIN)/python -m tests.drills.soak --minutes 60

lock: install
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
	  --extra local --extra test pyproject.toml -o requirements.lock

schemas: install
	$(BIN)/python -m schemas.generate

clean:
	rm -rf .venv .quarterhour
