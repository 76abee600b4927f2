#!/usr/bin/env bash
# Installs the stub generators of Go, Java and TypeScript into .tools, at fixed versions, by each ecosystem's own client.
set -euo pipefail
cd "$(dirname "$0")/.."

PROTOC_GEN_GO=v1.36.11
PROTOC_GEN_GO_GRPC=v1.6.2
PROTOC=4.35.1        # Maven's number of protoc 35.1
GRPC_JAVA=1.80.0
PROTOC_GEN_ES=2.17.0

for tool in go mvn npm; do
  command -v "$tool" >/dev/null || { echo "error: $tool is missing: install it to generate the stubs of all languages" >&2; exit 1; }
done

bin=$PWD/.tools/bin
mkdir -p "$bin"
GOBIN=$bin go install "google.golang.org/protobuf/cmd/protoc-gen-go@$PROTOC_GEN_GO"
GOBIN=$bin go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$PROTOC_GEN_GO_GRPC"

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-x86_64 ;;
  Linux-aarch64) platform=linux-aarch_64 ;;
  Darwin-*) platform=osx-$(uname -m | sed s/arm64/aarch_64/) ;;
  *) echo "error: Maven has no protoc for $(uname -sm)" >&2; exit 1 ;;
esac
mvn -q -B dependency:copy -DoutputDirectory="$bin" -Dmdep.useBaseVersion=true -Dartifact="com.google.protobuf:protoc:$PROTOC:exe:$platform"
mvn -q -B dependency:copy -DoutputDirectory="$bin" -Dartifact="io.grpc:protoc-gen-grpc-java:$GRPC_JAVA:exe:$platform"
install -m 755 "$bin/protoc-$PROTOC-$platform.exe" "$bin/protoc"
install -m 755 "$bin/protoc-gen-grpc-java-$GRPC_JAVA-$platform.exe" "$bin/protoc-gen-grpc-java"
rm "$bin"/*.exe

npm install --prefix .tools --no-save --no-package-lock --no-audit --no-fund --silent \
  "@bufbuild/protoc-gen-es@$PROTOC_GEN_ES" "@bufbuild/protobuf@$PROTOC_GEN_ES"
touch .tools/stamp
