# Every target sets up what it needs. PYTHON may name any Python 3.11 to 3.13.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORKERS ?= 2

export OMP_NUM_THREADS = 1
export OMP_WAIT_POLICY = PASSIVE
# The tests start many short processes: none compiles its modules again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-fast check bench bench-quick system install clean help

help:
	@echo "make demo        set up, then the whole loop on scikit-learn's digits"
	@echo "make test        set up, then every test (make test-fast: the quick ones)"
	@echo "make check       ruff, mypy --strict, import contracts, shellcheck"
	@echo "make bench       every benchmark (make bench-quick: under 3 minutes)"
	@echo "make system      the optional system tools, with apt"

# torch goes first: see constraints.txt.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	touch $@

.typing/edgekiln/targets:
	mkdir -p .typing/edgekiln
	for room in targets runtime compiler search fleet cli; do ln -sfn ../../$$room .typing/edgekiln/$$room; done

install: $(STAMP) .typing/edgekiln/targets

demo: install
	@$(BIN)/edgekiln demo $(ARGS)

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-fast: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" --hypothesis-profile quick $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports
	if command -v shellcheck >/dev/null; then shellcheck .ci/run; else echo "skipped: shellcheck (make system installs it)"; fi

bench: install
	$(BIN)/python -m benchmarks

bench-quick: install
	$(BIN)/python -m benchmarks --quick

SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
system:
	$(SUDO) apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends \
	  mosquitto chromium gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-system-misc \
	  gcc-riscv64-unknown-elf shellcheck gcc clang make cmake

clean:
	rm -rf $(VENV) .typing build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
