#!/usr/bin/env bash
# Builds the sdist, and from it the wheel, into dist/python.
set -euo pipefail
cd "$(dirname "$0")/../.."

rm -rf dist/python
python -m build --no-isolation --outdir dist/python .
