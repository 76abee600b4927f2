"""The clients of all languages against a server with TLS: who connects, and what is said when that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.drivers import DRIVERS, ready, run
from tests.interop.expectations import ERROR_TEXTS
from tests.support.harness import serving
from tests.support.tls import MEETINGS, Certificates
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from tests.interop.drivers import Driver

pytestmark = [
    pytest.mark.timeout(BUILD_TIMEOUT + 60),
    pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.language),
]

# What each language says itself about a certificate that is refused.
CAUSES = {
    "wrong authority": (
        "unable to get local issuer",
        "unknown authority",
        "certification path",
        "verify the first",
    ),
    "expired certificate": ("has expired", "has expired", "CertificateExpired", "has expired"),
    "certificate of another host": ("Hostname", "IP SANs", "No subject alternative", "altnames"),
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def call(driver: Driver, target: str, tls: dict[str, str] | None) -> dict[str, Any]:
    """Returns the report of one stream, without trying again."""
    await asyncio.to_thread(ready, driver)
    return await run(
        driver, {"target": target, "patience_seconds": 0} | ({} if tls is None else {"tls": tls})
    )


@pytest.mark.parametrize("requires_client", [False, True], ids=["TLS", "mutual"])
async def test_a_stream_over_tls(driver: Driver, certificates: Certificates, requires_client: bool) -> None:
    """With the authority of the server, and a client certificate where the server requires one."""
    tls = certificates.of_client(name="client" if requires_client else None)
    async with serving(tls=certificates.of_server(requires_client=requires_client)) as server:
        report = await call(driver, server.target, tls)
    assert report["error"] is None
    assert (report["finish_reason"], report["indexes_gapless"]) == ("END", True)
    assert report["token_count"] == report["usage"]["output"] > 0


async def test_what_a_failed_handshake_says(driver: Driver, certificates: Certificates) -> None:
    """One line with the cause, as far as the library knows it, and what to check."""
    lines = await asyncio.gather(*(_line(driver, certificates, name) for name in MEETINGS))
    for (name, meeting), line in zip(MEETINGS.items(), lines, strict=True):
        assert line.startswith("UNAVAILABLE: "), name
        assert line.endswith("; " + ERROR_TEXTS[meeting.advice]), name
        assert "\n" not in line, name
        if name in CAUSES:
            assert CAUSES[name][DRIVERS.index(driver)] in line, name


async def _line(driver: Driver, certificates: Certificates, name: str) -> str:
    """Returns the line of the error of a client and a server that do not agree."""
    meeting = MEETINGS[name]
    tls = certificates.of_client(meeting.trusts, meeting.client)
    settings = certificates.of_server(meeting.server, requires_client=meeting.requires_client)
    async with serving(tls=settings) as server:
        report = await call(driver, server.target, tls)
    return str(report["error"]["line"])
