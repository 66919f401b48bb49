# Each target does its own set-up in .venv (or .venv-learn, with torch) and ends with one line of verdict.
PYTHON ?= python3
BIN := .venv/bin
LEARN := .venv-learn/bin
CACHE ?= .cache
REPLAY ?= $(CACHE)/replay

.PHONY: demo test test-learn check bench bench-sandbox bench-pool prove-gguf prove-kills prove-copies prove-random prove-calls prove-replay prove-identity prove-hostile prove-patches prove-sandbox prove-projects prove-pulls prove-speed train-solder compare-solder clean

demo: $(BIN)/.ready
	$(BIN)/python demo/demo.py $(DEMO_ARGS)

test: $(BIN)/.ready-dev
	$(BIN)/python -m pytest -m "not learn"

test-learn: $(LEARN)/.ready
	$(LEARN)/python -m pytest -m learn

check: $(BIN)/.ready-dev $(LEARN)/.ready
	$(BIN)/ruff check src tests demo proofs
	$(BIN)/ruff format --check src tests demo proofs
	$(LEARN)/lint-imports
	$(LEARN)/pyright --pythonpath $(LEARN)/python
	@echo "check: passed"

bench: $(BIN)/.ready
	$(BIN)/python -m tinsmith.evals.ranking --cache $(CACHE)/evals
	$(BIN)/python -m tinsmith.evals.table --cache $(CACHE)/evals
	$(BIN)/python -m tinsmith.evals.call_cost --cache $(CACHE)/evals

prove-copies: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.copies --kills 200 --seed 1

bench-pool: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.pool_cost --svg docs/pool-memory.svg

bench-sandbox: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.sandbox_cost $(SANDBOX_COST_ARGS)

prove-kills: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.kills --kills 500 --seed 1 --mode both --rows $(CACHE)/kills.jsonl

prove-random: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.random_weights --turns 1000 --seed 1

prove-calls: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.calls --seed 1

prove-speed: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.plan_speed

prove-identity: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.call_identity --calls 100000 --seed 1

prove-hostile: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.hostile_text --strings 10000 --seed 1

prove-patches: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.patches --patches 10000 --seed 1

prove-projects: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.projects --cache $(CACHE)/evals

prove-pulls: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.pulls --kills 100 --seed 1

# The fuzzer is a set-up of its own: it has no wheel for every Python, and says so where it is missing.
prove-gguf: $(BIN)/.ready-dev
	-$(BIN)/python -m pip install --quiet --only-binary :all: atheris
	$(BIN)/python -m proofs.fuzz_gguf --inputs 200000 --seed 1

prove-sandbox: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.sandbox --rows $(CACHE)/sandbox.jsonl

prove-replay: $(BIN)/.ready-dev
	$(BIN)/python -m proofs.replay $(REPLAY)

train-solder: $(LEARN)/.ready
	$(LEARN)/python -m tinsmith.learn.solder --cache $(CACHE)/learn --out src/tinsmith/models/weights/solder.gguf

compare-solder: $(LEARN)/.ready
	$(LEARN)/python -m tinsmith.learn.comparison --shards $(CACHE)/learn/shards/full --out $(CACHE)/learn/comparison

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(BIN)/.ready-dev: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

$(LEARN)/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-learn
	$(LEARN)/python -m pip install --quiet --editable ".[learn,dev]"
	@touch $@

clean:
	rm -rf .venv .venv-learn .cache build dist
