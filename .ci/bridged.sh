#!/usr/bin/env bash
# The conformance server on stdio, behind a bridge that listens for HTTP on port $1.
exec mcpcore bridge 'stdio:mcpcore run examples/conformance_server.py' --transport http --port "$1" --backend trio
