#!/usr/bin/env bash
# Builds the npm package of the client, with its stubs inside, into dist/npm. Equal sources give equal bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

client=clients/typescript
npm install --prefix $client --no-package-lock --no-audit --no-fund --silent
rm -rf $client/dist dist/npm
npm run --prefix $client --silent build

# What only the repository needs is left out: scripts and development dependencies, which name files outside the package.
package=$(mktemp -d)
trap 'rm -r "$package"' EXIT
cp -r $client/dist $client/README.md $client/package.json LICENSE "$package"
(cd "$package" && npm pkg delete scripts devDependencies)
mkdir -p dist/npm
npm pack "$package" --pack-destination dist/npm --ignore-scripts --silent
