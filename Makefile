# Every target sets up what it needs in .venv, once: `make demo` and `make test` work on a clean clone.
# PYTHON=... chooses the interpreter for a new .venv; `make clean` removes the old one.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-rest test-all test-matrix constraints bench lint clean FORCE
.NOTPARALLEL:

help:
	@echo 'make demo    stitch example models and predict with them, in demo_output/ (installs 1.5 GB)'
	@echo 'make test    the tests to run before a commit (ARGS=tests/graphs/test_wiring.py for some of them)'
	@echo 'make test-all  all tests'
	@echo 'make test-matrix  the core tests with other Pythons and versions (an hour; ARGS="--python 3.13")'
	@echo 'make constraints  the newest versions of all packages into .ci/constraints.txt'
	@echo 'make bench   measure the speed and write docs/benchmarks.md (two to three hours; ARGS="--help")'
	@echo 'make lint    ruff and mypy'
	@echo 'make clean   remove all that the targets above made, .venv too'

# All start processes, of which each would else compile what it imports anew.
demo test test-rest test-all test-matrix: export PYTHONDONTWRITEBYTECODE :=

demo: $(VENV)/.stamp-demo
	$(BIN)/keras-stitch demo -o demo_output

# Files with slow tests first (tests/conftest.py), each file in one of three processes: one often waits for its own.
PYTEST = $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: export HYPOTHESIS_PROFILE ?= quick
test: $(VENV)/.stamp-dev
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(PYTEST) -m "not slow")

# All tests in one run, properties with all their examples; or, after `make test`, what that left out.
# Model files that tests need are fetched first; without a network, the tests of them fail and say so.
test-rest: MARKED = -m "slow or hypothesis"
test-rest test-all: $(VENV)/.stamp-dev
	-@$(BIN)/python tests/helpers/real_files.py
	$(PYTEST) $(MARKED) $(ARGS)

test-matrix: $(VENV)/.stamp-dev
	$(BIN)/python .ci/test_matrix.py $(ARGS)

# The newest versions that go together, for every Python; pip then has nothing left to try.
constraints: $(VENV)/.stamp-dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header \
	    --extra dev setup.cfg .ci/constraints.in --output-file .ci/constraints.txt

bench: $(VENV)/.stamp-dev
	$(BIN)/python benchmarks/run.py $(ARGS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy keras_stitch model_templates

clean:
	rm -rf $(VENV) .cache build dist demo_output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Sets $$python to the first candidate that really runs (a pyenv shim may not) and is 3.11, 3.12 or 3.13.
CANDIDATES = $(or $(PYTHON),python3.12 python3.13 python3.11 python3 python)
define find_python
python=; \
for candidate in $(CANDIDATES); do \
    $$candidate -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
        && python=$$candidate && break; \
done; \
if [ -z "$$python" ]; then \
    echo 'keras_stitch needs Python 3.11, 3.12 or 3.13 with its venv module; none among: $(CANDIDATES).' >&2; \
    echo 'Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; \
    exit 1; \
fi
endef

# .stamp-EXTRA says that .venv holds the package, editable, with that extra. While pip works there is no stamp
# at all, so an environment without one is half-built, or new, and is made from scratch. So is one that .light marks,
# which is good for the demo only, when more is wanted than that.
$(VENV)/.stamp-%: setup.cfg pyproject.toml .ci/constraints.txt $(if $(realpath $(BIN)/python),,FORCE)
	@if ! ls $(VENV)/.stamp-* >/dev/null 2>&1 || ! $(BIN)/python -c '' 2>/dev/null \
	    $(if $(filter-out demo,$*),|| [ -e $(VENV)/.light ]); then \
	    $(find_python); \
	    echo "Making $(VENV) with $$python"; \
	    $$python -m venv --clear $(VENV); \
	    $(if $(filter demo,$*),touch $(VENV)/.light;) \
	fi
	@rm -f $(VENV)/.stamp-*
	@echo 'Installing keras_stitch[$*] into $(VENV): a minute or two the first time'
	@$(BIN)/python .ci/install.py $* $$(test -e $(VENV)/.light && echo --light)
	@touch $@ $(addprefix $(VENV)/.stamp-,$(if $(filter dev,$*),examples demo) $(if $(filter examples,$*),demo))
