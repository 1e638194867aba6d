# Everything a developer needs, by `make help`. Settings, given as in
# `make setup PYTHON=python3.12`:
#   PYTHON      the Python that makes the environment, 3.10 to 3.13; without
#               it, the first of PYTHONS that can
#   VENV        the folder of the environment
#   STACK       onedl, or upstream: the OpenMMLab packages to install
#   MMCV_WHEEL  with STACK=upstream, a compiled mmcv in place of mmcv-lite
#   DATA        with `make demo`, a data set to use instead of a drawn one
#   JOBS        how many tests run at a time
#   SUITE       with `make test-processors`, test or test-all
PYTHON ?=
VENV ?= .venv
STACK ?= onedl
MMCV_WHEEL ?=
DATA ?=
JOBS ?= 2
SUITE ?= test-all

PYTHONS := $(or $(PYTHON),python3 python3.11 python3.12 python3.10 python3.13)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Bytecode is left to the first import, which needs less of it.
PIP_INSTALL := $(PIP) install -q --no-compile -c constraints/$(STACK).txt
STAMP := $(VENV)/.installed-$(STACK)
MMCV_onedl := onedl-mmcv
MMCV_upstream := $(or $(MMCV_WHEEL),mmcv-lite)
OPENCV := opencv-python opencv-python-headless

# MKL and PyTorch choose kernels by processor and by number of threads; each
# setting stands for another machine. What a setting does not name is unset.
# Threads that wait should not spin, as several tests share the processor.
PROCESSORS := \
  'OMP_NUM_THREADS=1' \
  'OMP_NUM_THREADS=2 MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=default' \
  'OMP_NUM_THREADS=1 MKL_CBWR=AVX2 ATEN_CPU_CAPABILITY=default' \
  'OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2'

# The tests start Python some hundred times. Where the environment forbids
# bytecode (images for containers do), each start would compile all packages.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all test-processors test-web \
  configs lint site format clean

help:
	@echo 'make setup     install everything into $(VENV)'
	@echo 'make demo      train, test and draw a tiny model (DATA=folder: on your data)'
	@echo 'make test      the fast tests, on a CPU'
	@echo 'make test-all  all tests'
	@echo 'make test-processors  all tests with the kernels of several processors'
	@echo 'make test-web  the tests of the page, in Chromium'
	@echo 'make configs   build the model of every config'
	@echo 'make lint      check style, types, spelling and pages'
	@echo 'make site      build the documentation as a site, in build/site'
	@echo 'make format    bring the code into style'
	@echo 'make clean     remove what builds and tests left behind'

setup: $(STAMP)

$(STAMP): setup.py pyproject.toml constraints/$(STACK).txt
	@for other in $(filter-out $(STAMP),$(wildcard $(VENV)/.installed-*)); do \
	  echo "$(VENV) holds the other stack ($$other). Name another folder:" \
	    'make setup STACK=$(STACK) VENV=.venv/$(STACK)'; \
	  exit 1; \
	done
# Some of them may be missing, too old, a launcher of pyenv that leads nowhere,
# or Debian's, which makes no environments without another package.
	@test -x $(BIN)/python || { for python in $(PYTHONS); do \
	    "$$python" -c 'import sys, ensurepip, venv; sys.exit( \
	      not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && \
	      exec "$$python" -m venv $(VENV); \
	  done; \
	  echo 'Needed: a Python 3.10 to 3.13 that makes virtual environments' \
	    '(on Debian and Ubuntu: apt install python3-venv). Tried: $(PYTHONS).' \
	    'Name another: make setup PYTHON=/path/to/python3.12'; \
	  exit 1; }
	@echo 'Installing into $(VENV), which takes some minutes.'
# From this one on, pip installs a checkout in place.
	@$(PIP) install -q 'pip>=21.3'
# Not from the cache: a wheel of mmcv compiled on this machine lies there under
# the same name, whatever torch it was compiled for. A compiled mmcv stays.
	@$(PIP) show -qq mmcv || { $(PIP) uninstall -qq -y mmcv-lite && \
	  $(PIP_INSTALL) --no-cache-dir --no-deps $(MMCV_$(STACK)); }
	@$(PIP_INSTALL) -e '.[$(STACK),tests,lint]'
	@$(PIP_INSTALL) --no-deps cityscapesscripts
# The packages ask for both, which share one folder; only the headless one does
# without the graphics libraries of a desktop.
	@$(PIP) uninstall -qq -y $(OPENCV)
	@$(PIP_INSTALL) --no-deps opencv-python-headless
	@$(BIN)/python -c 'import cv2'
	@touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py --work-dir work_dirs/demo $(if $(DATA),--data '$(DATA)')

test: $(STAMP)
	@$(BIN)/python -m pytest -q -m 'not slow and not web' --durations=10 \
	  -n $(JOBS) --dist loadfile

test-all: $(STAMP)
	@$(BIN)/python -m pytest -q --durations=10 -n $(JOBS) --dist loadfile

test-processors: $(STAMP)
	@failed=; for setting in $(PROCESSORS); do \
	  echo "== $$setting"; \
	  env -u MKL_CBWR -u ATEN_CPU_CAPABILITY OMP_WAIT_POLICY=PASSIVE $$setting \
	    $(MAKE) --no-print-directory $(SUITE) || \
	    { echo "== failed: $$setting"; failed="$$failed; $$setting"; }; \
	done; \
	test -z "$$failed" || { echo "Failed with: $${failed#; }"; exit 1; }

# What is missing of the page is installed here, as most work needs none of
# it. Where no Chromium can be had, the tests that need one are skipped.
test-web: $(STAMP)
	@$(BIN)/python -c 'import av, gradio, playwright' 2>/dev/null || \
	  $(PIP_INSTALL) -e '.[web]' playwright
	@for name in chromium chromium-browser google-chrome; do \
	    command -v $$name >/dev/null && exit; done; \
	  PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT=5000 \
	  $(BIN)/playwright install chromium >/dev/null 2>&1 || \
	  echo 'There is no Chromium, and none can be downloaded.'
	@$(BIN)/python -m pytest -q -rs -m 'web and not slow' tests/serve

configs: $(STAMP)
	@$(BIN)/python -m pytest -q tests/test_configs.py

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python .ci/check_docs.py

# Material announces a successor at every start.
site: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict
	@echo 'Built: open build/site/index.html in a browser.'

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find configs oneformer projects tests tools -name __pycache__ -exec rm -r {} +
