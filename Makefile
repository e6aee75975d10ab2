# `make` alone lists what there is. Everything happens in this folder: .venv/ holds the packages, var/ the data.

# Tried in this order; the first that is new enough is taken. Name another one with `make run PYTHON=/path/to/python`.
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV_PYTHON = .venv/bin/python
# What touches no database, or only asks who may, is tried on the first leg only.
ONCE = gateway test_tenancy.py test_openapi.py test_docs.py test_env_example.py console/test_console_access.py \
	console/test_console_roles.py linkit/test_translations.py linkit/test_segments_js.py \
	contacts/test_rendering.py linkit/test_encoding.py linkit/test_phone_fast_path.py linkit/test_segment_vectors.py \
	outbox/bulk/test_columns.py outbox/bulk/test_reading_csv.py outbox/bulk/test_reading_xlsx.py outbox/bulk/test_rows.py \
	sms_providers/adapters sms_providers/test_transport.py
# Whoever is done takes from the others: a few tests run processes and take as long as hundreds.
PYTEST = $(VENV_PYTHON) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL = help
.PHONY: help run test browser screenshots soak bench check messages lock clean

help:
	@echo "make run     Run everything on this machine: nothing to install, PORT=8000"
	@echo "make test    Run the tests on PostgreSQL and on SQLite; PYTEST_ARGS='-k outbox' for some of them"
	@echo "make browser Run the console's tests in a real Chromium, which this machine has to have"
	@echo "make screenshots  Take the pictures of docs/console.md again, in the same way"
	@echo "make soak    Run the longest faults and loads, which make test leaves out: PostgreSQL only, some minutes"
	@echo "make bench   Measure against the goals of speed, beside ceilings and rivals: docs/performance.md"
	@echo "make check   Format, lint, types, imports, migrations, deployment settings, API schema"
	@echo "make messages  Find what the console says, and compile its translations: linkit/locale/"
	@echo "make lock    Compile requirements/*.txt again; UV_ARGS=--upgrade for newer versions"
	@echo "make clean   Remove .venv/ and caches; the data in var/ stays"

run: .venv/embedded.stamp
	@exec $(VENV_PYTHON) manage.py up

# What the first leg has compiled the second finds again, also in an image that tells Python to keep nothing.
test browser soak: export PYTHONDONTWRITEBYTECODE =

# Both legs run, whatever becomes of the first.
test: .venv/dev.stamp
	@status=0; \
	$(PYTEST) || status=1; \
	TEST_DATABASE=sqlite $(PYTEST) $(ONCE:%=--ignore=tests/%) || status=1; \
	exit $$status

# What `make test` skips where Playwright or Chromium is missing, and what fails here then. A language for each process.
browser: .venv/e2e.stamp
	BROWSER_TESTS=required $(VENV_PYTHON) -m pytest tests/browser -n 2 --dist loadgroup $(PYTEST_ARGS)

# One after the other: nobody else's messages are in the pictures.
screenshots: .venv/e2e.stamp
	BROWSER_TESTS=required SCREENSHOTS=docs/images/console $(VENV_PYTHON) -m pytest tests/browser/test_journey.py $(PYTEST_ARGS)

# One after the other, so that each has the machine to itself.
soak: .venv/dev.stamp
	$(VENV_PYTHON) -m pytest -m soak --timeout 900 $(PYTEST_ARGS)

# Each against a ceiling or a rival in the same run; docs/performance.md says what they found. Some 45 minutes on a
# machine that has nothing else to do; ROWS=100000 for half of that. All but rows, bulk and search run on a PostgreSQL that
# waits for the disk at every commit. One alone: $(VENV_PYTHON) -m tests.benchmarks.drain --help
bench: .venv/bench.stamp
	$(VENV_PYTHON) -m tests.benchmarks.drain
	$(VENV_PYTHON) -m tests.benchmarks.fairness --messages $(or $(ROWS),100000)
	$(VENV_PYTHON) -m tests.benchmarks.memory
	$(VENV_PYTHON) -m tests.benchmarks.enqueue
	$(VENV_PYTHON) -m tests.benchmarks.claim --pending $(or $(ROWS),1000000)
	$(VENV_PYTHON) -m tests.benchmarks.retention
	$(VENV_PYTHON) -m tests.benchmarks.rows
	$(VENV_PYTHON) -m tests.benchmarks.bulk --rows $(or $(ROWS),1000000)
	$(VENV_PYTHON) -m tests.benchmarks.credits
	$(VENV_PYTHON) -m tests.benchmarks.search --contacts $(or $(ROWS),1000000)
	$(VENV_PYTHON) -m tests.benchmarks.lists --rows $(or $(ROWS),1000000)

# Settings as in production, with keys that are made here and forgotten.
check: export PUBLIC_URL = https://sms.example.org
check: export DATABASE_URL = postgres://linkit@127.0.0.1:5432/linkit
check: export REDIS_URL = redis://127.0.0.1:6379/0
check: .venv/dev.stamp
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m ruff check
	SECRET_KEY=types FIELD_ENCRYPTION_KEYS=types $(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports --no-logo
	@SECRET_KEY=`$(VENV_PYTHON) -c 'import secrets; print(secrets.token_urlsafe(50))'`; \
	FIELD_ENCRYPTION_KEYS=`$(VENV_PYTHON) -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`; \
	export SECRET_KEY FIELD_ENCRYPTION_KEYS; \
	set -ex; \
	DATABASE_URL=sqlite://:memory: $(VENV_PYTHON) manage.py makemigrations --check --dry-run; \
	$(VENV_PYTHON) manage.py check --deploy --fail-level WARNING; \
	$(VENV_PYTHON) manage.py spectacular --validate --fail-on-warn --file /dev/null

# New texts come without a translation, and tests/linkit/test_translations.py fails until they have one.
messages: .venv/dev.stamp
	$(VENV_PYTHON) -m tests.translations

# The others are held to what base says, so that .venv/ can go from one to the other.
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv, https://docs.astral.sh/uv/" >&2; exit 1; }
	@constraint=; \
	for name in base embedded production dev e2e bench; do \
		echo "requirements/$$name.txt"; \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$(UV_ARGS) $$constraint requirements/$$name.in -o requirements/$$name.txt || exit 1; \
		constraint="-c requirements/base.txt"; \
	done

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that this file, as it is now, is installed.
.venv/%.stamp: requirements/%.txt | $(VENV_PYTHON)
	@echo "Installing $< into .venv"
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(VENV_PYTHON) -m ensurepip >/dev/null
	@$(VENV_PYTHON) -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r $<
	@touch $@

$(VENV_PYTHON):
	@for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -m venv --clear .venv && exit 0; \
		rm -rf .venv; exit 1; \
	done; \
	echo "Linkit SMS needs Python 3.11 or newer; tried: $(PYTHON). Name yours with PYTHON=/path/to/python" >&2; \
	exit 1
