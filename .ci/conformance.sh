#!/usr/bin/env bash
# The official conformance suite with its strict gate: our server and our client, on both backends, and our server
# behind a bridge. Fails unless what fails is exactly what tests/conformance/expected_failures.txt lists, and for the
# bridge bridge_failures.txt beside it.
# `mcpcore` and `python` have to be those of the installation under test, and the current directory is the checkout.
# The suite's scripts lie in ../shared/conformance, or where MCPCORE_CONFORMANCE says. $1 is a directory to install the
# suite into.
set -euo pipefail

suite=$(cd "${MCPCORE_CONFORMANCE:-../shared/conformance}" && pwd)
export CONF_HOME=$1 PY=python
export SERVER_CMD='' CLIENT_CMD=''
limit=480  # seconds for one leg; the one of the client takes about ninety

mkdir -p "$CONF_HOME"
cp "$suite/package.json" "$CONF_HOME/"
npm install --prefix "$CONF_HOME" --ignore-scripts --no-audit --no-fund --silent
pip install --quiet pyyaml  # the gate reads the suite's requirements

# What fails is compared name by name, so the exit code of the run says nothing more.
leg() {
  CONF_RUN=$(mktemp -d -p "$CONF_HOME")
  export CONF_RUN
  PORT=$(python -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')
  export PORT
  timeout "$limit" "$suite/run.sh" >"$CONF_RUN/gate.txt" || true
  grep ' scenarios, ' "$CONF_RUN/gate.txt" || tail -n 50 "$CONF_RUN"/*.log
  python tests/conformance/verdict.py "$1" "$CONF_RUN/gate.txt" "${@:2}"
}

for backend in asyncio trio; do
  SERVER_CMD="mcpcore run examples/conformance_server.py --transport http --port {port} --backend $backend" leg server
done
# The same server as a child process behind a bridge.
SERVER_CMD=".ci/bridged.sh {port}" leg server tests/conformance/bridge_failures.txt
SERVER_CMD=
for backend in asyncio trio; do
  CLIENT_CMD="env MCPCORE_BACKEND=$backend python examples/conformance_client.py" leg client
done
