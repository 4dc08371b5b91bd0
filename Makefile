# The front door. `make demo` and `make test` need Python 3.11+, a C compiler and Rust, and install everything else into .venv.

PYTHON ?= python3
BIN := .venv/bin
# Real maps for the tests that want them, where they lie beside the repository.
SAMU_DATA ?= $(realpath $(wildcard ../shared/data))
export SAMU_DATA
# uv compiles no Python: where bytecode may not be kept either, each process that imports torch compiles it for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint bench install install-tests clean

demo: install
	$(BIN)/python examples/make_maps.py
	$(BIN)/samu-batch enhance examples/emdb_list.txt -o demo
	@echo "Look at demo/report.html; ChimeraX opens demo/*/view.cxc"

test: install-tests lint
	cargo test --release --workspace --quiet
	$(BIN)/python -m pytest -q

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install-tests
	$(BIN)/pip install --quiet -r benches/requirements.txt
	$(BIN)/python benches/resample.py
	$(BIN)/python benches/tiling.py
	$(BIN)/python benches/memory.py
	$(BIN)/python benches/engines.py
	$(BIN)/python benches/huge_map.py
	$(BIN)/python benches/fake_gpus.py

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Built by pip, so that what is tested is what users install.
install: $(BIN)/python
	$(BIN)/pip install --quiet ./engines
	$(BIN)/pip install --quiet .

# uv fetches and unpacks side by side what the tests need, 6 GB with torch; where it cannot, pip does it.
install-tests: install
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r tests/requirements.txt \
	  || $(BIN)/pip install --quiet -r tests/requirements.txt
	$(BIN)/pip install --quiet --no-deps ./training

clean:
	rm -rf .venv target build engines/build training/build demo examples/maps
