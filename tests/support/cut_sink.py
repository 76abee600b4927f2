"""An event store from which a server can be cut."""

from __future__ import annotations

from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory import MemoryEventSink, MemoryLogs


class CutSink(MemoryEventSink):
    """Event sink in memory whose calls fail between `cut` and `mend`, so that its server seems to be dead."""

    is_cut = False

    def cut(self) -> None:
        """Makes every call fail from now on."""
        self.is_cut = True

    def mend(self) -> None:
        """Ends that."""
        self.is_cut = False

    @property
    def store(self) -> MemoryLogs:
        """The logs that replicas share. Raises StoreUnavailable while the sink is cut from them."""
        if self.is_cut:
            raise StoreUnavailable("the store is cut off")
        return self._store

    @store.setter
    def store(self, logs: MemoryLogs) -> None:
        self._store = logs
