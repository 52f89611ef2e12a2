#!/usr/bin/env bash
# The tests that need other people's programs: the official TypeScript client, an authorization server, an official Python
# client of SDK 1.x, FastMCP, nginx, and Chromium. What is missing is installed: into the directory $1, and the last two
# by apt, which takes root.
# `python` and `pytest` have to find mcpcore, `npm` has to be there, and the current directory is the checkout.
set -euo pipefail

peers=$1
mkdir -p "$peers"

missing=()
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=(nginx-light)
command -v chromium >/dev/null && command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
if ((${#missing[@]})); then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

for packages in typescript authorization; do
  mkdir -p "$peers/npm/$packages"
  cp "tests/interop/$packages/package.json" "$peers/npm/$packages/"
  npm install --prefix "$peers/npm/$packages" --ignore-scripts --no-audit --no-fund --silent
done

python -m venv "$peers/sdk1"
"$peers/sdk1/bin/pip" install --quiet 'mcp==1.30.0'

python -m venv "$peers/fastmcp"
"$peers/fastmcp/bin/pip" install --quiet 'fastmcp==4.1.2'

MCPCORE_NPM=$peers/npm MCPCORE_SDK1=$peers/sdk1/bin/python MCPCORE_FASTMCP=$peers/fastmcp/bin/python \
  pytest tests/interop tests/examples -m 'npm or nginx or sdk1 or fastmcp or chromium'
