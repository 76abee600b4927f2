#!/usr/bin/env bash
# Builds the sdist, and from it the wheels of the client and of the server, into dist/python.
set -euo pipefail
cd "$(dirname "$0")/../.."

rm -rf dist/python
whole=$(mktemp -d)
trap 'rm -rf "$whole"' EXIT
python -m build --no-isolation --outdir "$whole" .
mkdir -p dist/python
mv "$whole"/*.tar.gz dist/python
python tools/dist/split_wheel.py "$whole"/*.whl dist/python
