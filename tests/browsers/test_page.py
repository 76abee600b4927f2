"""The page in Chromium: whatever happens to its connection, it shows the engine's text, each token once."""

from __future__ import annotations

import asyncio
import signal
from urllib.parse import unquote

import pytest

from tests.browsers.conftest import bridging
from tests.support.commands import state_of, until
from tests.support.tcp_proxy import TcpProxy
from tests.support.toolchains import BUILD_TIMEOUT
from tokengrpc import Cursor

# The first test of each bridge builds it.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

TEXT = "document.querySelector('#text').textContent"


async def opened(chromium, address: str):
    """Returns a page that fails the test if its script fails."""
    page = await (await chromium.new_context()).new_page()
    page.on("pageerror", lambda error: (_ for _ in ()).throw(AssertionError(str(error))))
    await page.goto(address)
    return page


async def begun(chromium, address: str, *, characters: int = 100):
    """Returns a page that has started a generation and shows its first characters."""
    page = await opened(chromium, address)
    await page.get_by_role("button", name="Start").click()
    await shows(page, characters)
    return page


async def shows(page, characters: int) -> None:
    """Waits until a page shows so many characters, and is not at the end yet."""
    await page.wait_for_function(f"{TEXT}.length >= {characters}")
    assert await page.get_attribute("body", "data-state") != "finished"


async def finished(page) -> str:
    """Waits for the end, and returns the text that the page shows."""
    await page.wait_for_selector("body[data-state=finished]")
    return await page.evaluate(TEXT)


async def reconnected(page, times: int = 1) -> None:
    await page.wait_for_function(f"Number(document.querySelector('#reconnects').textContent) >= {times}")


def cursor_of(page) -> str:
    return unquote(page.url.partition("#")[2])


async def test_an_undisturbed_answer(chromium, bridge):
    """The text, the figures and the plot are there at the end."""
    page = await begun(chromium, bridge.url)
    text = await finished(page)
    assert text == bridge.engine_text(cursor_of(page))
    figures = {name: await page.inner_text(f"#{name}") for name in ("first", "tokens", "rate", "reconnects")}
    assert figures["first"].endswith(" ms")
    assert int(figures["tokens"]) > 50
    assert float(figures["rate"]) > 0
    assert figures["reconnects"] == "0"
    assert (await page.get_attribute("#plot path", "d")).count("L") > 3
    assert await page.inner_text("#state") == "finished (END)"


async def test_the_button_cuts_the_connection(chromium, bridge):
    """The browser reconnects by itself, as often as the button is pressed."""
    page = await begun(chromium, bridge.url)
    for times in (1, 2):
        await page.get_by_role("button", name="Cut the connection").click()
        await reconnected(page, times)
        await shows(page, len(await page.evaluate(TEXT)) + 20)
    assert await finished(page) == bridge.engine_text(cursor_of(page))


async def test_a_reset_connection(chromium, bridge):
    """The network between browser and bridge drops connections in the middle of what they carry."""
    async with TcpProxy(bridge.port) as proxy:
        page = await begun(chromium, f"http://{proxy.target}")
        for times in (1, 2, 3):
            proxy.cut()
            await reconnected(page, times)
            await shows(page, len(await page.evaluate(TEXT)) + 20)
        assert await finished(page) == bridge.engine_text(cursor_of(page))


async def test_a_cut_within_an_event(chromium, bridge):
    """After any byte. What has arrived of the event is not shown, and comes again."""
    async with TcpProxy(bridge.port) as proxy:
        page = await begun(chromium, f"http://{proxy.target}", characters=20)
        for times, size in enumerate((1, 7, 40, 41, 97), 1):
            proxy.cut_after_bytes(size)
            await reconnected(page, times)
            await shows(page, len(await page.evaluate(TEXT)) + 1)
        assert await finished(page) == bridge.engine_text(cursor_of(page))


async def test_a_reload(chromium, bridge):
    """The page reads the generation of its address again, from the beginning, and goes on."""
    page = await begun(chromium, bridge.url)
    await page.reload()
    await shows(page, 100)
    text = await finished(page)
    assert text == bridge.engine_text(cursor_of(page))
    assert (await page.inner_text("#first")).endswith(" ms")
    await page.reload()
    assert await finished(page) == text


async def test_two_tabs_on_one_generation(chromium, bridge):
    """Both show everything. A cut of one and the end of another do not disturb the rest."""
    first = await begun(chromium, bridge.url)
    second, third = await opened(chromium, first.url), await opened(chromium, first.url)
    await shows(second, 100)
    await third.close()
    async with TcpProxy(bridge.port) as proxy:
        fourth = await opened(chromium, first.url.replace(str(bridge.port), str(proxy.port)))
        await shows(fourth, 100)
        proxy.cut()
        texts = await asyncio.gather(*map(finished, (first, second, fourth)))
    assert set(texts) == {bridge.engine_text(cursor_of(first))}


async def test_another_bridge_goes_on(chromium, command, server):
    """A bridge is killed. The next one on its port knows nothing but the cursor that the browser sends."""
    with bridging(command, server) as bridge:
        page = await begun(chromium, bridge.url)
        bridge.process.send_signal(signal.SIGKILL)
        bridge.process.wait()
        await reconnected(page)
        with bridging(command, server, PORT=str(bridge.port)):
            text = await finished(page)
            assert text == bridge.engine_text(cursor_of(page))


async def test_a_closed_tab_leaves_the_generation(chromium, bridge):
    """With ON_CLOSE=detach, it goes on without a reader, and another tab finds it."""
    page = await begun(chromium, bridge.url)
    address, cursor = page.url, cursor_of(page)
    await page.close()
    await until_in_thread(lambda: "readers       0" in bridge.server("get", id_of(cursor)).stdout)
    assert state_of(bridge.server, id_of(cursor)) == "GENERATION_STATE_GENERATING"
    other = await opened(chromium, address)
    assert await finished(other) == bridge.engine_text(cursor)


async def test_a_closed_tab_cancels_the_generation(chromium, command, server):
    """With ON_CLOSE=cancel, a reload still finds it, and then nobody does."""
    with bridging(command, server, ON_CLOSE="cancel") as bridge:
        page = await begun(chromium, bridge.url)
        await page.reload()
        await shows(page, 100)
        generation = id_of(cursor_of(page))
        await page.close()
        await until_in_thread(lambda: state_of(server, generation) == "GENERATION_STATE_CANCELLED")


def id_of(cursor: str) -> str:
    return Cursor.parse(cursor).generation_id


async def until_in_thread(condition) -> None:
    """Waits for a condition that runs commands, while the browser's events are processed."""
    await asyncio.to_thread(until, condition, "the condition of the test")
