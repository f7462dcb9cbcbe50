# make demo   install, draw synthetic plates, train on 2 ranks, evaluate on held-out compounds
# make test   install, lint, run all tests
# make .venv  install only.   PIP_ARGS passes options to pip, such as the index of PyTorch's CPU builds
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: demo test lint clean .venv

.venv: .venv/runtime

.venv/runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mscnn needs Python 3.11 or newer; name one with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements.txt
	touch $@

.venv/dev: .venv/runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements-dev.txt
	touch $@

demo: .venv/runtime
	rm -rf demo
	$(BIN)/python -m mscnn synth --out demo/plates --sites 2
	OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 train.py demo --run-dir demo/run
	$(BIN)/python evaluate.py --checkpoint demo/run --out demo/evaluation
	@echo "pictures: demo/plates/overview.png demo/evaluation/confusion.png"

lint: .venv/dev
	$(BIN)/ruff check .

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf .venv demo
