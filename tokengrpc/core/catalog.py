"""The models that the server offers: names, engines, tokenizers and capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.engine_key import check_takes, takes
from tokengrpc.core.features import REQUESTED_FEATURES
from tokengrpc.errors import ModelNotFound, UnsupportedFeature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Capability
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.core.ports.engine import Engine, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.routing import EnginePool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLimits:
    """Timeouts of a model's generations, in seconds; 0 means the server's timeout."""

    first_token: float = 0.0
    inter_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Model with the pool of engines that run it; `context_token_count` is 0 if unknown.

    `max_queue_time` is the longest wait for an engine, in seconds; 0 means the server's.
    """

    name: str
    pool: EnginePool
    tokenizer: Tokenizer
    context_token_count: int = 0
    allowed_engine_params: frozenset[str] = frozenset()
    clocks: ClockLimits = ClockLimits()
    max_queue_time: float = 0.0

    @property
    def engines(self) -> list[Engine]:
        """The engines of the model's pool."""
        return [pooled.engine for pooled in self.pool.engines]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Capabilities of the model: the union of those of its engines."""
        return frozenset().union(*(engine.capabilities for engine in self.engines))


class Catalog:
    """Models by name. Unless `default` is given, the first model is the default."""

    def __init__(self, models: Sequence[ServedModel], default: str = "") -> None:
        self._models = {model.name: model for model in models}
        self.default = default or models[0].name

    def all(self) -> list[ServedModel]:
        """Returns all models, sorted by name."""
        return [self._models[name] for name in sorted(self._models)]

    def resolve(self, name: str) -> ServedModel:
        """Returns a model by name; an empty name means the default model. Raises ModelNotFound."""
        model = self._models.get(name or self.default)
        if model is None:
            raise ModelNotFound(
                f"there is no model {name[:100]!r}: use a name that ListModels returns",
                metadata={"model": name[:100]},
            )
        return model


def capable_engines(request: GenerationRequest, model: ServedModel) -> list[PooledEngine]:
    """Returns the model's engines that support every feature of a request.

    Raises UnsupportedFeature if there is none, or if an engine parameter is not allowed, and the errors of
    `check_takes`. A request with a key of its own is never run by an engine that does not take such keys.
    """
    unknown = request.engine_params.keys() - model.allowed_engine_params
    if unknown:
        raise UnsupportedFeature(
            f"engine_params.{min(unknown)[:64]} is not allowed for model {model.name}: "
            "leave it out, or ask the operator to allow it",
            metadata={"model": model.name},
        )
    key = request.engine_key
    check_takes(key, frozenset(pooled.caller_keys for pooled in model.pool.engines), model.name)
    capable = [pooled for pooled in model.pool.engines if takes(pooled.caller_keys, key)]
    for capability, feature, requested in REQUESTED_FEATURES:
        if requested(request):
            capable = [pooled for pooled in capable if capability in pooled.engine.capabilities]
            if not capable:
                # Different engines may support different features of the request, and none all of them.
                with_rest = " together with the rest of the request" * (capability in model.capabilities)
                raise UnsupportedFeature(
                    f"model {model.name} does not support {feature}{with_rest}:"
                    " leave it out or choose another model",
                    metadata={"model": model.name, "capability": capability.value},
                )
    return capable
