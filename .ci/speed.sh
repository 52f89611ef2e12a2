#!/usr/bin/env bash
# Instructions per request, compared with benchmarks/baseline.json: fails when one grew by more than 20 % beside the
# same work without a framework. Valgrind is installed when it is missing, by apt, which takes root.
# `python` has to be that of the installation under test, and the current directory is the checkout.
set -euo pipefail

if ! command -v valgrind >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends valgrind >/dev/null
fi

python benchmarks/instructions.py
