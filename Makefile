# make demo   install, draw synthetic plates, train on 2 ranks, evaluate on held-out compounds, report
# make test   install, lint, run all tests
# make docs   write the documentation site to site/; after the installation it needs no network
# make .venv  install only.   PIP_ARGS passes options to pip, such as the index of PyTorch's CPU builds
# make same    what the program computes, by revision BEFORE (default: the last commit) and by the files as they are: equal?
# make faults  what clusters, disks and strangers do to a run, 100 times over; half an hour; prints the table of docs/faults.md
# make fuzz    thousands of small changes of a run's files: a result, or one line; EXAMPLES is their number for each command
# make test-mpich test-intel-mpi   the tests of MPI with another MPI than that of .venv, in an environment laid over it
# make test-ipex    install Intel's extension and its own torch into .venv-ipex (7.5 GB), test the network and training there
# make bench-ipex   its training steps beside those of the same torch without it
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
IPEX := .venv-ipex/bin
BEFORE ?= HEAD
EXAMPLES ?= 1000
MPI_TESTS ?= tests/mpi tests/ranks tests/slurm -k mpi

.DELETE_ON_ERROR:
.PHONY: demo test same faults fuzz lint docs clean .venv test-mpich test-intel-mpi test-ipex bench-ipex

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
	$(BIN)/python evaluate.py --checkpoint demo/run
	$(BIN)/python -m mscnn baselines demo/run
	$(BIN)/python -m mscnn report demo/run
	@echo "look at demo/run/report.html and demo/plates/overview.png"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/basedpyright

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.venv/docs: .venv/runtime requirements-docs.txt
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements-docs.txt
	touch $@

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open site/index.html; its search needs a server: $(BIN)/python -m http.server --directory site --bind 127.0.0.1"

same: .venv/runtime
	$(BIN)/python tests/same.py against $(BEFORE)

faults: .venv/dev
	$(BIN)/python -m pytest --full tests/faults tests/test_security.py tests/slurm -k "faults or refused or queued or cancelled"

fuzz: .venv/dev
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz

.venv-mpich/runtime: MPI = mpich==5.0.2
.venv-intel-mpi/runtime: MPI = impi-rt==2021.18.1
.venv-mpich/runtime .venv-intel-mpi/runtime: .venv-%/runtime: .venv/dev
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet $(PIP_ARGS) $$(grep -o '^mpi4py[^ ]*' requirements.txt) $(MPI)
	site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  echo "$$($(CURDIR)/$(BIN)/python -c "$$site")" >"$$(.venv-$*/bin/python -c "$$site")/below.pth"
	touch $@

test-mpich test-intel-mpi: test-%: .venv-%/runtime
	.venv-$*/bin/python -m pytest $(MPI_TESTS)

.venv-ipex/runtime: requirements-ipex.txt
	test -x $(IPEX)/python || $(PYTHON) -m venv .venv-ipex
	$(IPEX)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements-ipex.txt
	touch $@

test-ipex: .venv-ipex/runtime
	$(IPEX)/python -c 'import intel_extension_for_pytorch'   # without it the tests of IPEX would only be skipped
	$(IPEX)/python -m pytest tests/model tests/training/test_checkpoint.py tests/training/test_train_state.py \
	  tests/test_train_and_evaluate.py

bench-ipex: .venv-ipex/runtime
	$(IPEX)/python -m mscnn.bench step \
	  --variants sparse-fp32,sparse-fp32-ipex,dense-fp32-kept,dense-fp32-kept-ipex,sparse-bf16,sparse-bf16-ipex,dense-bf16-kept,dense-bf16-kept-ipex

clean:
	rm -rf .venv .venv-* demo site
