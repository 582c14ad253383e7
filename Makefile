# make app   sets everything up and opens the dashboard
# make test  sets everything up, checks the style and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each worker holds a TensorFlow and may start a browser: some 2 GB. Files are begun in the order that
# tests/conftest.py says, the longest first.
WORKERS ?= 2

.PHONY: app test lint clean

app: $(VENV)/app.ready
	$(BIN)/streamlit run app.py

test: $(VENV)/dev.ready lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 13))' || \
	  { echo "KOP needs Python 3.10 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "On Debian: apt install python3-venv"; exit 1; }

$(VENV)/app.ready: $(VENV)/bin/python requirements.txt constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.ready: $(VENV)/bin/python requirements.txt requirements-dev.txt constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/app.ready

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
