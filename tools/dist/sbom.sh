#!/usr/bin/env bash
# Writes a CycloneDX SBOM of each published artefact to dist/sbom: sbom.sh LANGUAGE...
# The artefacts must be in dist already (make dist-LANGUAGE). The same sources give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

CYCLONEDX_BOM=7.5.0
CYCLONEDX_GOMOD=v1.10.0
CYCLONEDX_MAVEN=2.9.1
CYCLONEDX_NPM=6.0.1

root=$PWD
tools=$root/.tools/sbom
out=$root/dist/sbom
# The time of the commit, so that the SBOMs of a commit are the same whenever they are built.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools" "$out"

# There are three: of the client alone, of the server, and of what the image installs.
python_sboms() {
  [ -x "$tools/python/bin/cyclonedx-py" ] || {
    python -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet "cyclonedx-bom==$CYCLONEDX_BOM"
  }
  local wheel extra environment
  wheel=$(echo "$root"/dist/python/tokengrpc-*.whl)
  for extra in '' server all; do
    environment=$work/python$extra
    python -m venv --without-pip "$environment"
    python -m pip --python "$environment/bin/python" install --quiet --constraint constraints.txt \
      --find-links "$root/dist/python" "$wheel${extra:+[$extra]}"
    "$tools/python/bin/cyclonedx-py" environment --pyproject pyproject.toml --mc-type library --output-reproducible \
      --output-file "$out/python-tokengrpc${extra:+-$extra}.cdx.json" "$environment"
  done
}

go_sboms() {
  [ -x "$tools/cyclonedx-gomod" ] \
    || GOBIN=$tools go install "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$CYCLONEDX_GOMOD"
  local name
  for name in client stubs; do
    "$tools/cyclonedx-gomod" mod -json -licenses -notimestamp -noserial -type library \
      -output "$out/go-$name.cdx.json" "$([ $name = client ] && echo clients/go || echo generated/go)"
  done
}

java_sboms() {
  mvn --quiet --batch-mode --file clients/java/pom.xml --projects ../../generated/java,client \
    "org.cyclonedx:cyclonedx-maven-plugin:$CYCLONEDX_MAVEN:makeBom" \
    -DoutputFormat=json -DprojectType=library -DincludeTestScope=false -DincludeBomSerialNumber=false \
    "-Dproject.build.outputTimestamp=$SOURCE_DATE_EPOCH"
  cp clients/java/client/target/bom.json "$out/java-client.cdx.json"
  cp generated/java/target/bom.json "$out/java-stubs.cdx.json"
}

# Of the published tarball, not of the checkout, whose dependencies are folders.
typescript_sboms() {
  npm install --silent --no-save --prefix "$tools/npm" "@cyclonedx/cyclonedx-npm@$CYCLONEDX_NPM"
  tar -xzf "$root"/dist/npm/*.tgz -C "$work"
  (
    cd "$work/package"
    npm install --silent --omit=dev --no-audit --no-fund
    "$tools/npm/node_modules/.bin/cyclonedx-npm" --omit dev --mc-type library --output-reproducible \
      --output-file "$out/typescript-client.cdx.json"
  )
}

for language in "$@"; do
  rm -f "$out/$language"-*
  "${language}_sboms"
done
