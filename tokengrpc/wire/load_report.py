"""Load reports as bytes of ORCA's message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xds_orca.orca_pb2 import OrcaLoadReport

if TYPE_CHECKING:
    from tokengrpc.core.load_average import LoadReport


def encode(report: LoadReport) -> bytes:
    """Returns the bytes of an `xds.data.orca.v3.OrcaLoadReport`."""
    return OrcaLoadReport(
        application_utilization=report.application_utilization,
        cpu_utilization=report.cpu_utilization,
        mem_utilization=min(1.0, report.memory_utilization),
        rps_fractional=report.requests,
        eps=report.errors,
        named_metrics=report.named,
    ).SerializeToString()
