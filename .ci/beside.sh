#!/usr/bin/env bash
# What runs beside the tests, which keep one core busy: the check that nothing got slower, the official conformance
# suite, the type checkers and the linter. $1 is a directory for its venv and the suite; the current directory is the
# checkout.
set -euo pipefail

"${PYTHON:-python3}" -m venv "$1/venv"
source "$1/venv/bin/activate"
pip install --quiet --upgrade pip
pip install --quiet . --group dev

set -x
.ci/speed.sh
.ci/conformance.sh "$1/conformance"
mypy
pyright
pyright --verifytypes mcpcore --ignoreexternal
pyright --verifytypes mcpcore_transports --ignoreexternal
ruff check .
ruff format --check .
