#!/usr/bin/env bash
# Installs what the benchmarks compare with: `install_peers.sh [DIRECTORY]`, `peers` beside this file when none is given.
# Each in an environment of its own, so that nothing of theirs reaches ours. PYTHON is the interpreter (python3). What
# cannot be installed is a row "not installed" in the tables.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
place=${1:-$here/peers}
mkdir -p "$place"

environment() {
  local name=$1
  shift
  "${PYTHON:-python3}" -m venv "$place/$name" && "$place/$name/bin/pip" install --quiet "$@" || rm -rf "${place:?}/$name"
}

environment official 'mcp==2.3.0'
environment fastmcp 'fastmcp>=4.1'
environment limit anyio trio h11 msgspec httptools uvloop

npm install --prefix "$place/npm" --ignore-scripts --no-audit --no-fund --silent \
  '@modelcontextprotocol/server@2.4.0' '@modelcontextprotocol/client@2.4.0' zod
