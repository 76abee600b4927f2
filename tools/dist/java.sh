#!/usr/bin/env bash
# Builds the stubs, the client and their parent, with sources and javadoc, into dist/java, a Maven repository.
set -euo pipefail
cd "$(dirname "$0")/../.."

rm -rf dist/java
mvn --quiet --batch-mode --file clients/java/pom.xml --projects .,../../generated/java,client --activate-profiles dist \
  -Dmaven.test.skip=true -Dmaven.install.skip=true "-DaltDeploymentRepository=dist::file://$PWD/dist/java" deploy
