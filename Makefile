# Everything a newcomer needs: `make demo` does the main job, `make test` runs the tests. Each sets itself up.
PYTHON ?= python3
PIP_ARGS ?=
# make demo DATA="a.txt b.txt" also evaluates on these files, into a folder of its own.
OUT ?= $(if $(DATA),demo-data,demo)
BIN := .venv/bin

.PHONY: demo test faults lint clean

demo: .venv/installed
	$(BIN)/uprior run demo --out $(OUT) $(if $(DATA),--eval $(DATA))

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Real runs are killed, signalled, starved of disk, poisoned; every fault twenty times. About twenty minutes; ends in a table.
faults: .venv/installed-dev
	UPRIOR_FAULT_REPEATS=$(or $(REPEATS),20) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist tests/faults

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The environment is made once, and again only when the list of packages changes.
.venv/installed: pyproject.toml constraints/pins.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/pins.txt -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints/pins.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints/pins.txt -e '.[dev]'
	touch $@ .venv/installed

clean:
	rm -rf .venv demo demo-data runs
