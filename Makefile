# make book            set up what is missing, then make the book of PROFILE (smoke, unless told otherwise)
# make batch           the same as many jobs: JOBS=2 at a time, EXECUTOR=slurm on a cluster, SNAKEMAKE='further words'
# make test            set up what is missing, then run the tests (no browser, no GPU needed)
# make bench           every benchmark in turn, then one table; under 10 minutes on 2 cores that do nothing else
# make check           style (ruff) and the direction of imports (import-linter)
# make clean           remove build/ (runs included); .venv stays. make distclean removes both
#
# Real data:  make book PROFILE=paper ECHONET=../EchoNet-Dynamic CAMUS=../CAMUS IMAGENET=../weights
# What is kept in results/ is not computed again, unless:  make book PROFILE=desk ECHOLIB_ANEW=1
# The plain path (frame by frame, float32, nothing compiled) instead of the fast one:  make book ENGINE=plain

PYTHON  ?= python3
PROFILE ?= smoke
ECHONET ?=
CAMUS   ?=
IMAGENET ?=
JOBS    ?=
EXECUTOR ?=
PARTITION ?=
SNAKEMAKE ?=
ENGINE  ?=
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.echolib-installed
PYTEST  ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: book batch test bench check setup clean distclean
.DEFAULT_GOAL := book

DATA = $(if $(ECHONET),ECHOLIB_ECHONET='$(ECHONET)') $(if $(CAMUS),ECHOLIB_CAMUS='$(CAMUS)') \
  $(if $(IMAGENET),ECHOLIB_IMAGENET='$(IMAGENET)')

book: $(STAMP)
	@$(DATA) $(BIN)/echolib book --profile $(PROFILE)

batch: $(STAMP)
	@$(DATA) $(BIN)/echolib batch --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS)) \
	  $(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(PARTITION),--partition $(PARTITION)) -- $(SNAKEMAKE)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST)

bench: $(STAMP)
	@$(BIN)/python benchmarks/all.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

setup: $(STAMP)

# One line of pip's talk per package, so that a slow download is seen and a fast one does not fill the screen.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed; $(PYTHON) is " + v + ". Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module does not work here; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }; }
	@echo "Installing into $(VENV) (3 GB to download, 7 GB on disk the first time)"
	@rm -f $@; { $(BIN)/python -m pip install --progress-bar off --no-compile -c constraints.txt -e '.[all]' 2>&1 || echo "pip: failed"; } | \
	  awk '/^Collecting/ { printf "  %4d  %s\n", ++n, $$2 } \
	    /^ *Downloading/ && !/\.metadata/ { print "        downloading " $$2, $$3, $$4 } \
	    /^Installing collected/ { print "  unpacking " NF - 3 " packages" } \
	    /^ *(Building|Successfully|ERROR|error|pip: failed)/ { print "  " substr($$0, 1, 200) } \
	    { fflush() } /^pip: failed/ { bad = 1 } END { exit bad }'
	@touch $@

clean:
	rm -rf build

distclean: clean
	rm -rf $(VENV) *.egg-info
