"""The models that are served: names, engines, tokenizers, and what may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.features import REQUESTED_FEATURES
from tokengrpc.errors import ModelNotFound, UnsupportedFeature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Capability
    from tokengrpc.core.ports.engine import Engine, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.routing import EnginePool, PooledEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLimits:
    """A model's own bounds on the clocks of its generations, in seconds; 0: the server's."""

    first_token: float = 0.0
    inter_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model and the pool of engines that run it; `context_token_count` 0 when not known."""

    name: str
    pool: EnginePool
    tokenizer: Tokenizer
    context_token_count: int = 0
    allowed_engine_params: frozenset[str] = frozenset()
    clocks: ClockLimits = ClockLimits()

    @property
    def engines(self) -> list[Engine]:
        """The engines of its pool."""
        return [pooled.engine for pooled in self.pool.engines]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What requests may ask of it: all that any of its engines can do."""
        return frozenset().union(*(engine.capabilities for engine in self.engines))


class Catalog:
    """Models by name; the first one is the default unless another is named."""

    def __init__(self, models: Sequence[ServedModel], default: str = "") -> None:
        self._models = {model.name: model for model in models}
        self.default = default or models[0].name

    def all(self) -> list[ServedModel]:
        """In order of their names."""
        return [self._models[name] for name in sorted(self._models)]

    def resolve(self, name: str) -> ServedModel:
        """A model by name, the default for an empty one. Raises ModelNotFound."""
        model = self._models.get(name or self.default)
        if model is None:
            raise ModelNotFound(
                f"there is no model {name[:100]!r}: ListModels names those there are",
                metadata={"model": name[:100]},
            )
        return model


def capable_engines(request: GenerationRequest, model: ServedModel) -> list[PooledEngine]:
    """The model's engines that can do all that a request asks for.

    Raises UnsupportedFeature when there is none, or when an engine parameter is not allowed.
    """
    unknown = sorted(set(request.engine_params) - model.allowed_engine_params)
    if unknown:
        raise UnsupportedFeature(
            f"engine_params.{unknown[0][:64]} is not allowed for model {model.name}: "
            "leave it out, or let its operator allow it",
            metadata={"model": model.name},
        )
    capable = list(model.pool.engines)
    for capability, what, asked in REQUESTED_FEATURES:
        if asked(request):
            capable = [pooled for pooled in capable if capability in pooled.engine.capabilities]
            if not capable:
                # One engine may do this, another the rest, and none both.
                with_rest = " together with the rest of the request" * (capability in model.capabilities)
                raise UnsupportedFeature(
                    f"model {model.name} does not support {what}{with_rest}:"
                    " leave it out or choose another model",
                    metadata={"model": model.name, "capability": capability.value},
                )
    return capable
