#!/usr/bin/env bash
# Builds the image of deploy/Containerfile: image.sh [OPTION...], the options being those of `podman build` or `docker build`.
# CONTAINER_ENGINE names the program to use. All labels come from Git, so that a commit gives the same ones whenever it is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

engine=${CONTAINER_ENGINE:-$(command -v podman || command -v docker)} \
  || { echo "error: no container engine is installed: install Podman or Docker, or name one in CONTAINER_ENGINE" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD)$(git diff --quiet HEAD || echo -dirty)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# Podman's own format has no health checks.
format=()
case $("$engine" --version) in podman*) format=(--format docker) ;; esac
exec "$engine" build --file deploy/Containerfile "${format[@]}" --tag "tokengrpc:$version" \
  --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
  --build-arg "VERSION=$version" \
  --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
  "$@" .
