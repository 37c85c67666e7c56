# Two commands do everything on a fresh machine: `make table6` and `make test`.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SNAKEMAKE := snakemake --cores all --resources gpu=$(or $(GPUS),1)

.PHONY: .venv help table6 all report browser nnunet test test-browser test-all check lab unlock clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# After Ctrl-C Snakemake has the last word, not make, which still ends by the signal.
INTERRUPTED := || { code=$$?; [ "$$stopped" ] || exit $$code; }

table6: .venv/ready unlock ## the main job: phantoms in, the paper's Table 6 out (results/tables)
	trap stopped=1 INT; $(SNAKEMAKE) -- results/tables/table6.csv $(INTERRUPTED)

all: .venv/ready unlock ## every table and figure of the paper, and the notebooks
	trap stopped=1 INT; $(SNAKEMAKE) all $(INTERRUPTED)

report: .venv/ready ## results/report/report.html: tables, figures and how they were made, in one file
	@mkdir -p results/report
	snakemake --report results/report/report.html all
	@python workflow_scripts/closing.py results/report/report.html

# What the browser is made of; not in the lock, so that `make table6` stays as light as it is.
BROWSER := ipyniivue==2.4.4 itables==2.9.1 plotly==7.1.0

browser: .venv/ready ## a page to look at all results that are here (results/browser/index.html)
	@$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock $(BROWSER)
	$(SNAKEMAKE) -- results/browser/index.html

# One split, as the options of `ssc score` name it.
SPLIT ?= --task abdomen --split draw0 --data real --scale small
STEPS ?= 4000
NNUNET := state/nnunet/$(shell echo '$(SPLIT) $(STEPS)' | tr -d '-' | tr ' ' '_')

nnunet: .venv/ready ## nnU-Net on a split, in an environment of its own: see docs/own_data.md
	@[ -x state/nnunet/venv/bin/nnUNetv2_train ] || { $(PYTHON) -m venv state/nnunet/venv && \
		state/nnunet/venv/bin/pip install -q torch==2.13.0 nnunetv2==2.8.1; }
	[ -f $(NNUNET)/nnUNet_raw/Dataset501_Split/dataset.json ] || \
		ssc export-nnunet $(NNUNET)/nnUNet_raw/Dataset501_Split $(SPLIT)
	state/nnunet/venv/bin/python workflow_scripts/nnunet.py $(NNUNET) $(STEPS)
	ssc score $(NNUNET)/predictions $(SPLIT) --method nnunet

test: .venv/ready ## format, lint, unit tests, a small slice of Table 6 from end to end
	$(MAKE) --no-print-directory check
	pytest -n 2 --dist loadfile --no-loadscope-reorder tests/workflow tests/unit tests/paper tests/fuzz # a file to a process, longest first
	@! command -v chromium > /dev/null || $(MAKE) --no-print-directory test-browser

test-browser: .venv/ready ## the results browser in Chromium, which must be installed (`make test` runs it then)
	@$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock $(BROWSER) playwright==1.65.2
	pytest tests/browser

test-all: test ## and what takes minutes: every documented command, DVC, ONNX, damaged files, more seeds
	@$(BIN)/pip install -q -c requirements.lock onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 dvc-s3==3.3.0 \
		snakemake-storage-plugin-fs==1.1.3 snakemake-storage-plugin-s3==0.3.6 'moto[server]==5.2.5'
	pytest -m long tests

check: .venv/ready ## format and lint alone
	ruff check .
	ruff format --check .
	snakefmt --check --compact-diff .
	oxlint --deny-warnings ssc/results/page
	snakemake --lint

lab: .venv/ready unlock ## open the notebook of Table 6 in JupyterLab (installed when first used); ARGS="--port 9999"
	@$(BIN)/python -c "import jupyterlab" 2> /dev/null || $(BIN)/pip install -q -c requirements.lock jupyterlab==4.6.6
	@$(SNAKEMAKE) --quiet host progress reason rules -- results/notebooks/abdomen.ipynb
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS) results/notebooks/abdomen.ipynb

unlock: .venv/ready ## clear a lock that a killed Snakemake left, if no other one works here
	@python workflow_scripts/unlock.py

clean: ## remove the environment; results stay
	rm -rf .venv

# The environment: `make .venv`.
.venv: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: Python 3.11 or newer is needed. Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing the pinned packages into .venv (a few minutes)"
	@$(BIN)/pip install -q --disable-pip-version-check --use-pep517 -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch .venv/ready # last: a set-up that broke off is done again
