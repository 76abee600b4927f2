"""The objects of the product that are alive, and those that only the garbage collector would free."""

from __future__ import annotations

import gc
import types
from collections import Counter, defaultdict
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@contextmanager
def without_collector() -> Iterator[None]:
    """Disables the collector, after a collection."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def live_objects(package: str = "tokengrpc") -> Counter[str]:
    """Returns the number of a package's live objects by kind.

    They are the instances of its classes, and the frames, coroutines, functions and methods of its code. What
    the collector does not track is not counted: it refers to no such object. Nor are admission's measurements
    of the last seconds, whose number depends on time alone.
    """
    kinds = _kinds(gc.get_objects(), package)
    del kinds["tokengrpc.core.capacity.Measurement"]
    return kinds


def cyclic_garbage(*packages: str) -> Counter[str]:
    """Returns the number of unreachable objects in reference cycles, by kind. Frees none of them."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sum((_kinds(gc.garbage, package) for package in packages), Counter())
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def _kinds(objects: Iterable[object], package: str) -> Counter[str]:
    # There are hundreds of thousands: only those that have code are looked at one by one.
    by_type: defaultdict[type, list[object]] = defaultdict(list)
    counts: Counter[type] = Counter()
    for found in objects:
        kind = type(found)
        if kind in _CODE:
            by_type[kind].append(found)
        else:
            counts[kind] += 1
    kinds: Counter[str] = Counter()
    for kind, count in counts.items():
        module = kind.__module__
        if isinstance(module, str) and module.partition(".")[0] == package:
            kinds[f"{module}.{kind.__qualname__}"] += count
    for kind, members in by_type.items():
        for found in members:
            code = _CODE[kind](found)
            if code is not None and f"/{package}/" in code.co_filename:
                kinds[f"{kind.__name__} of {code.co_qualname}"] += 1
    return kinds


_CODE: dict[type, Callable[[Any], types.CodeType | None]] = {
    types.FrameType: attrgetter("f_code"),
    types.CoroutineType: attrgetter("cr_code"),
    types.GeneratorType: attrgetter("gi_code"),
    types.AsyncGeneratorType: attrgetter("ag_code"),
    types.FunctionType: attrgetter("__code__"),
    types.MethodType: lambda method: getattr(method.__func__, "__code__", None),
}
