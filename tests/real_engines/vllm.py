"""vLLM, over its HTTP API and over its gRPC service, with a model of random weights."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from smg_vllm import vllm_engine_pb2 as pb
from smg_vllm.vllm_engine_pb2_grpc import VllmEngineStub

from tests.real_engines.kind import INSTALLED, MAKERS, Engine, Kind, metric, package_version
from tests.real_engines.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

_PYTHON: Final = INSTALLED / "vllm" / "bin" / "python"
_MODEL: Final = "random"
_CONTEXT: Final = 2048
_ENVIRONMENT: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
_FLAGS: Final = (
    "--host 127.0.0.1 --enforce-eager --dtype float32 --max-num-seqs 32 "
    f"--max-model-len {_CONTEXT} --served-model-name {_MODEL}"
)


def _server(folder: Path, module: str, model: Path) -> Process:
    folder.mkdir()

    def command(port: int) -> list[str]:
        return [str(_PYTHON), "-m", module, "--model", str(model), "--port", str(port), *_FLAGS.split()]

    over_http = module.endswith("api_server")
    return Process(
        command,
        folder,
        ready_path="/health" if over_http else "",
        is_ready=None if over_http else _serves,
        environment=_ENVIRONMENT,
        seconds=400,
    )


def _random_model(folder: Path) -> Path:
    path = folder / "model"
    subprocess.run([_PYTHON, MAKERS / "random_hf.py", path], check=True, timeout=300)
    return path


def _http(folder: Path) -> Engine:
    process = _server(folder / "http", "vllm.entrypoints.openai.api_server", _random_model(folder))
    running, total = r"^vllm:num_requests_(?:running|waiting)", "^vllm:generation_tokens_total"
    return Engine(
        process,
        busy=lambda: metric(process.port, running + r"\{.* (\S+)"),
        generated=lambda: metric(process.port, total + r"\{.* (\S+)"),
    )


def _grpc(folder: Path) -> Engine:
    model = _random_model(folder)
    process = _server(folder / "grpc", "vllm.entrypoints.grpc_server", model)
    oracle = _server(folder / "http", "vllm.entrypoints.openai.api_server", model)
    return Engine(process, helpers=[oracle], oracle=oracle, busy=lambda: _load(process.port))


def _serves(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _load(port: int) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        (load,) = VllmEngineStub(channel).GetLoads(pb.GetLoadsRequest(), timeout=10).loads
    return int(load.num_running_reqs + load.num_waiting_reqs)


VLLM_HTTP: Final = Kind(
    name="vLLM over HTTP",
    installed_as="vllm",
    program=_PYTHON,
    settings={"kind": "openai", "dialect": "vllm", "api": "auto", "upstream_model": _MODEL},
    launch=_http,
    version=lambda: package_version(_PYTHON, "vllm"),
    model=_MODEL,
    context=_CONTEXT,
    names_stop=True,
    never_ending={"ignore_eos": True},
)

VLLM_GRPC: Final = Kind(
    name="vLLM over gRPC",
    installed_as="vllm",
    program=_PYTHON,
    settings={"kind": "vllm"},
    launch=_grpc,
    version=lambda: package_version(_PYTHON, "vllm"),
    model=_MODEL,
    context=_CONTEXT,
    names_stop=True,
    base_path="",
    never_ending={"ignore_eos": True},
    lacks={
        "an_unknown_model_is_refused": "the service has one model, and its requests name none",
        "the_recorded_text_equals_the_callers": "the service sends token ids, no text",
    },
)
