"""The LiteLLM proxy before llama.cpp's server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.real_engines.kind import INSTALLED, Engine, Kind, package_version
from tests.real_engines.llamacpp import llama_busy, llama_generated, llama_server
from tests.real_engines.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

_LITELLM: Final = INSTALLED / "litellm" / "bin"


def _litellm(folder: Path) -> Engine:
    behind = llama_server(folder)
    settings = folder / "litellm.yaml"
    entry = {
        "model": "openai/scripted",
        "api_base": f"http://127.0.0.1:{behind.port}/v1",
        "api_key": "none",
    }
    settings.write_text(json.dumps({"model_list": [{"model_name": "scripted", "litellm_params": entry}]}))
    proxy_folder = folder / "proxy"
    proxy_folder.mkdir()

    def command(port: int) -> list[str]:
        flags = ["--host", "127.0.0.1", "--port", str(port), "--config", str(settings)]
        return [str(_LITELLM / "litellm"), *flags]

    process = Process(
        command,
        proxy_folder,
        ready_path="/health/liveliness",
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # It listens on loopback only, during the run.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        seconds=120,
    )
    return Engine(
        process,
        helpers=[behind],
        busy=lambda: llama_busy(behind),
        generated=lambda: llama_generated(behind),
    )


LITELLM: Final = Kind(
    name="LiteLLM before llama.cpp",
    installed_as="litellm",
    program=_LITELLM / "litellm",
    settings={"kind": "openai", "dialect": "litellm", "api": "auto", "upstream_model": "scripted"},
    launch=_litellm,
    version=lambda: package_version(_LITELLM / "python", "litellm"),
    model="scripted",
    prompt_api="chat",
    counts_each_chunk=False,
    scripted=True,
)
