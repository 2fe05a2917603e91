# Each target sets up what it needs in .venv (Python 3.10 to 3.13; see tools/setup_venv.sh).
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
EXTRAS := aws,hadoop,stores,dask,tune,serving,test,bench
PACKAGES := storage features simulate preprocess input_fn model_fn trainer serving daily

# make demo INPUT=DIR runs on the real Ali-CCP files in DIR; OUTPUT is where everything goes.
INPUT :=
OUTPUT := demo_output

.PHONY: setup demo demo-daily test engines test-engines test-stores test-chains test-matrix lint audit bench constraints clean
.PHONY: test-tables test-topologies test-commands test-days test-optimizers golden

setup: $(READY)

$(READY): setup.py $(wildcard constraints/*.txt) tools/setup_venv.sh
	@tools/setup_venv.sh $(VENV) $(EXTRAS) $@

demo: $(READY)
	@$(BIN)/python examples/aliccp/run.py --output_dir=$(OUTPUT) $(if $(INPUT),--input_dir=$(INPUT))

demo-daily: $(READY)
	@$(BIN)/python examples/daily/run.py --output_dir=$(OUTPUT)_daily

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)

test: lint
	$(BIN)/python -m pytest tests

# Trainings, the demo and the guides, command by command.
test-commands: $(READY)
	$(BIN)/python -m pytest -m 'commands and not chains' tests

# The demo of seven days, and a day that is killed in every step: ten minutes.
test-days: $(READY)
	$(BIN)/python -m pytest -n 0 -m days tests/daily

# The job servers of Flink and Spark with all their parts, by Maven.
engines: $(READY)
	@$(BIN)/python tools/engines/job_servers.py flink
	@$(BIN)/python tools/engines/job_servers.py spark

# The job on Flink and Spark, in workers of their own. Their jars come by Maven into .engines. ONLY picks tests.
ONLY :=
test-engines: $(READY)
	@command -v java >/dev/null && command -v mvn >/dev/null || { \
	  echo "test-engines: needs Java (11 or 17) and Maven, which are not on this machine."; \
	  echo "Nothing was tested; install them, for example: apt-get install openjdk-17-jre-headless maven"; exit 1; }
	@$(MAKE) --no-print-directory engines
	$(BIN)/python -m pytest --dist load -m engines $(if $(ONLY),-k "$(ONLY)") tests/engines

# The whole chain on real stores: S3 servers (moto's; Versity's gateway where Go is), and HDFS where Java and Maven are.
test-stores: $(READY)
	$(BIN)/python -m pytest -n 0 -m stores tests/stores

# Logs in the shapes of others, from raw rows to scores over REST; the demo on files that are there; a search for settings;
# a cluster of Dask.
test-chains: $(READY)
	$(BIN)/python -m pytest -m chains tests

# Python and TensorFlow pairs, each a list in constraints/ and an environment in MATRIX.
MATRIX := .venv.matrix
POINTS := py310-tf215 py312-tf219 py313

test-matrix:
	@tools/test_matrix.sh $(MATRIX) $(EXTRAS) $(POINTS)

# Known vulnerabilities of what is installed; says so where the list of them cannot be reached.
audit: $(READY)
	@$(BIN)/python tools/audit.py

# Newest versions that setup.py allows; needs uv.
constraints:
	tools/make_constraints.sh $(EXTRAS)

# Clusters of processes: minutes, so it has a target of its own.
test-topologies: $(READY)
	$(BIN)/python -m pytest -n 1 -m topologies tests/trainer

# Every optimizer at its defaults on a simulated log: two minutes.
test-optimizers: $(READY)
	$(BIN)/python -m pytest -n 0 -s -m optimizers tests/trainer

# The losses of the first steps of every model, written anew after a change that is meant to change them.
golden: $(READY)
	WRITE_GOLDEN=1 $(BIN)/python -m pytest -n 0 -m commands tests/trainer/test_golden_curve.py

bench: $(READY)
	$(BIN)/python benchmarks/run_all.py --folder=benchmarks/output

clean:
	rm -rf $(VENV) $(VENV).uv $(MATRIX) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A hundred thousand random tables: the job's reader, the client's and plain Python agree on each row (20 minutes).
test-tables: $(READY)
	PYTHONPATH=. $(BIN)/python tests/random_tables.py --tables=100000
