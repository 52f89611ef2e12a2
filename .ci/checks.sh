#!/usr/bin/env bash
# The type checkers and the linter, in a venv of their own, so that they can run beside the tests.
# $1 is a directory for the venv; the current directory is the checkout.
set -euo pipefail

"${PYTHON:-python3}" -m venv "$1"
source "$1/bin/activate"
pip install --quiet --upgrade pip
pip install --quiet . --group dev

set -x
mypy
pyright
pyright --verifytypes mcpcore --ignoreexternal
pyright --verifytypes mcpcore_transports --ignoreexternal
ruff check .
ruff format --check .
