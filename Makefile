# The two commands of a newcomer are `make run` and `make test`; both set up .venv first where it is needed.

PYTHON := .venv/bin/python
STAMP := .venv/.installed
DEVICE ?= devices/ecram/rpu-config.yaml

# The arrays are small: more than one thread per process costs more than it gives, and tests run side by side.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: run test lint types docs clean
.DELETE_ON_ERROR:

run: $(STAMP)
	$(PYTHON) -m hwsim run --device $(DEVICE)
	@echo "To use hwsim in this shell: source .venv/bin/activate"

test: $(STAMP)
	$(ONE_THREAD) $(PYTHON) -m pytest -n 2

lint: $(STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(STAMP)
	.venv/bin/basedpyright --pythonpath $(PYTHON)

# Every example of the gallery runs; a warning, a broken link or a failing example ends the build.
docs: $(STAMP)
	MPLBACKEND=Agg $(ONE_THREAD) $(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf .venv build dist docs/_build docs/gallery .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on the PATH is not yet a Python that starts, so each candidate is asked for its version.
$(PYTHON):
	@found=; for candidate in python3.11 python3.12 python3.13 python3; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "hwsim needs Python 3.11 or later: none of python3.11, python3.12, python3.13 and python3 is one." \
			"Install Python 3.11 (Debian: apt install python3.11 python3.11-venv) and run make again." >&2; \
		exit 1; \
	fi; \
	echo "Creating .venv with $$found"; \
	$$found -m venv .venv || { rm -rf .venv; \
		echo "$$found could not create .venv; on Debian it needs the package $$found-venv." >&2; exit 1; }

# No compiler is needed: everything but hwsim itself comes as a wheel.
$(STAMP): pyproject.toml constraints.txt | $(PYTHON)
	@echo "Installing hwsim and what it needs into .venv (a download of about 3 GB, 8 GB on disk, several minutes)"
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@
