VENV := .venv
PYTHON ?= python3
STAMP := $(VENV)/.installed

.PHONY: quickstart test test-all lint format docs protos

quickstart: $(STAMP)
	$(VENV)/bin/cnn-app quickstart

test: $(STAMP)
	$(VENV)/bin/pytest -q -n auto --dist worksteal

test-all: $(STAMP)
	$(VENV)/bin/pytest -q -n auto --dist worksteal -m ""

lint: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(STAMP)
	$(VENV)/bin/python docs/generate.py

protos: $(STAMP)
	$(VENV)/bin/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. cnn_app/serving/messages.proto

$(STAMP): setup.cfg pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
