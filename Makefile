# make quickstart   install, and run the first campaign: 24 mock galaxy catalogues and their dataset
# make test         install what the tests need, and run every check and every test
# make mpio         an h5py that several ranks write with, in an environment of its own; its tests run where it is there
# make torture      40,000 jobs under kill -9, for most of an hour
# make reliability  the table of faults in docs/reliability.md, made of the tests that passed
# make pictures     the pictures of README and docs, from a run that is looked at; needs Chromium
# make docs         the documentation as a site, in build/site
# make wheels       the wheel, installed into a fresh environment of each Python, where it runs the quickstart
# make bench        docs/performance.md, measured on this machine; takes about an hour

VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed-galaxies
TESTABLE = $(VENV)/.installed-galaxies-mpi-docs-test
OTHER_PYTHONS ?= 3.12 3.13

.DEFAULT_GOAL = help
.PHONY: docs wheels reference help pictures quickstart test check fast programs mpio others bench torture reliability schema clean

help:
	@sed -n 's/^# //p' Makefile

$(READY): pyproject.toml
	@.ci/setup $(VENV) galaxies

$(TESTABLE): pyproject.toml
	@.ci/setup $(VENV) galaxies,mpi,docs,test

quickstart: $(READY)
	$(BIN)/python -m campaign.run configs/quickstart.yaml

# Slow tests mostly wait, so they run beside the others; so does the wheel on each Python.
test: check programs
	@$(BIN)/python -m pytest -m "(slow or slurm) and not page" > .slow.log 2>&1 & slow=$$!; code=0; \
	$(BIN)/python -m pytest -m "not (slow or slurm) or page" --cov=campaign.core --cov=campaign.plan --cov=campaign.graph --cov-branch \
		--cov-report=term --cov-fail-under=95 || code=1; \
	$(MAKE) --no-print-directory wheels others || code=1; \
	wait $$slow || code=1; cat .slow.log; exit $$code

check: $(TESTABLE)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(TESTABLE)
	$(BIN)/python -m pytest -m "not slow" tests/core tests/steps tests/adapters tests/contract tests/cli

programs:
	@.ci/programs

mpio: $(TESTABLE)
	.ci/parallel-h5py $(VENV)-mpio $(VENV)

# The other supported Pythons, where they are installed: everything but the galaxies and the long kills.
others:
	@for version in $(OTHER_PYTHONS); do \
		if python$$version --version >/dev/null 2>&1; then \
			.ci/setup $(VENV)-$$version test python$$version && \
			$(VENV)-$$version/bin/python -m pytest -q -m "not slow and not slurm" --ignore=tests/galaxies || exit 1; \
		else \
			echo "skipped: Python $$version is not installed"; \
		fi; \
	done

docs: $(TESTABLE)
	$(BIN)/mkdocs build --strict

reference: $(TESTABLE)
	$(BIN)/python docs/reference.py

wheels: $(TESTABLE)
	@.ci/wheels $(BIN)/python $(OTHER_PYTHONS)

bench: $(TESTABLE) programs
	$(BIN)/python benchmarks/performance.py

torture: $(TESTABLE)
	$(BIN)/python benchmarks/performance.py torture

reliability: $(TESTABLE) programs
	$(BIN)/python -m pytest -q -m fault --reliability

pictures: $(TESTABLE) programs
	$(BIN)/python docs/pictures/make.py

schema: $(READY)
	$(BIN)/campaign validate --schema > configs/campaign.schema.json

clean:
	rm -rf $(VENV) $(VENV)-3.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
