"""The engines that `make engines` tries, in the order of the table."""

from __future__ import annotations

from typing import Final

from tests.real_engines.litellm import LITELLM
from tests.real_engines.llamacpp import LLAMACPP
from tests.real_engines.ollama import OLLAMA
from tests.real_engines.vllm import VLLM_GRPC, VLLM_HTTP

KINDS: Final = (LLAMACPP, LITELLM, OLLAMA, VLLM_HTTP, VLLM_GRPC)
