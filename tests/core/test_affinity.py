"""Requests of one session go to the same engine, as far as its state and load allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.affinity import session_key
from tokengrpc.core.breaker import CONSECUTIVE, AttemptOutcome
from tokengrpc.core.pooled_engine import PooledEngine, Slot, SlotRequest
from tokengrpc.core.routing import EnginePool, by_preference

BOUND = 1_000
FACTOR = 1.25


@dataclass
class Named:
    """The fields of an engine that the policy reads."""

    name: str
    healthy: bool | None = None


def engines(count: int, **settings) -> list[PooledEngine]:
    return [PooledEngine(Named(f"gpu-{number}"), **settings) for number in range(count)]


def key(number: int) -> bytes:
    return session_key("tenant", f"chat-{number}")


def ask(pool: EnginePool, session: bytes, now: float = 0.0, *, size: int = 10) -> Slot | None:
    wanted = SlotRequest(
        capable=pool.engines, input_tokens=size, most_output=0, progress=lambda: 0, session=session
    )
    return pool.acquire(wanted, now)


def name_for(pool: EnginePool, session: bytes, now: float = 0.0) -> str:
    """Returns the engine of a request that ends at once."""
    slot = ask(pool, session, now)
    assert slot is not None
    pool.release(slot, AttemptOutcome.SUCCESS, now)
    return slot.pooled.engine.name


def break_down(pool: EnginePool, name: str, now: float) -> None:
    (ill,) = [m for m in pool.engines if m.engine.name == name]
    for _ in range(CONSECUTIVE):
        wanted = SlotRequest(capable=[ill], input_tokens=1, most_output=0, progress=lambda: 0)
        slot = pool.acquire(wanted, now)
        assert slot is not None
        pool.release(slot, AttemptOutcome.FAILURE, now)


class TestKeys:
    """The key of a session."""

    def test_no_session(self):
        """An empty id is none."""
        assert session_key("tenant", "") == b""

    @given(st.tuples(st.text(), st.text(min_size=1)), st.tuples(st.text(), st.text(min_size=1)))
    def test_tenants_do_not_meet(self, one, other):
        """Keys are equal for the same tenant and id only, even if both run together to the same text."""
        assert (session_key(*one) == session_key(*other)) is (one == other)
        assert session_key("ab", "c") != session_key("a", "bc")

    def test_the_id_cannot_be_read(self):
        """Neither the tenant nor the id is in the key."""
        found = session_key("tenant", "session")
        assert b"session" not in found
        assert b"tenant" not in found


class TestStickiness:
    """A session stays where it is."""

    @examples(200)
    @given(st.integers(1, 6), st.lists(st.integers(0, 30), min_size=1, max_size=60))
    def test_every_turn_has_the_same_engine(self, count, turns):
        """In any order of sessions, as long as the load allows."""
        pool = EnginePool(engines(count), session_load_bound=BOUND)
        seen: dict[int, set[str]] = {}
        for now, turn in enumerate(turns):
            seen.setdefault(turn, set()).add(name_for(pool, key(turn), float(now)))
        assert all(len(names) == 1 for names in seen.values())

    def test_the_order_of_the_settings_does_not_matter(self):
        """Replicas with the same engines in another order agree."""
        some = engines(5)
        for number in range(50):
            assert by_preference(some, key(number)) == by_preference(some[::-1], key(number))

    def test_without_a_session_engines_take_turns(self):
        """The load decides, as before. A bound of 0 ignores sessions."""
        for bound, session in ((BOUND, b""), (0, key(1))):
            pool = EnginePool(engines(3), session_load_bound=bound)
            assert {name_for(pool, session, now) for now in (1.0, 2.0, 3.0)} == {"gpu-0", "gpu-1", "gpu-2"}

    def test_sessions_share_the_engines_by_weight(self):
        """Of 3,000 sessions, an engine of weight 2 gets half, two of weight 1 a quarter each."""
        some = [PooledEngine(Named(name), weight=weight) for name, weight in (("a", 2), ("b", 1), ("c", 1))]
        shares = Counter(by_preference(some, key(number))[0].engine.name for number in range(3_000))
        assert shares["a"] == pytest.approx(1_500, rel=0.1)
        assert shares["b"] == pytest.approx(750, rel=0.15)
        assert shares["c"] == pytest.approx(750, rel=0.15)


class TestMovement:
    """Engines leave and return."""

    @examples(100)
    @given(st.integers(2, 6), st.integers(0, 5))
    def test_only_sessions_of_the_engine_that_left_move(self, count, left):
        """The others keep their engine. With the engine, its sessions return."""
        gone = f"gpu-{left % count}"
        pool = EnginePool(engines(count), session_load_bound=BOUND)
        before = {number: name_for(pool, key(number)) for number in range(60)}
        break_down(pool, gone, now=0.0)
        during = {number: name_for(pool, key(number), 0.1) for number in range(60)}
        assert gone not in during.values()
        assert {n: name for n, name in during.items() if before[n] != gone} == {
            n: name for n, name in before.items() if name != gone
        }
        for pooled in pool.engines:
            pooled.checked(0.2, succeeded=True, began=0.2)
        assert {number: name_for(pool, key(number), 0.3) for number in range(60)} == before

    def test_sessions_of_an_engine_that_left_are_spread(self):
        """They do not all go to the same engine."""
        some = engines(4)
        nexts = [by_preference(some, key(number))[1] for number in range(200)]
        own = [by_preference(some, key(number))[0] for number in range(200)]
        moved = {to.engine.name for to, of in zip(nexts, own, strict=True) if of is some[0]}
        assert moved == {"gpu-1", "gpu-2", "gpu-3"}

    def test_a_changed_weight_moves_sessions_to_that_engine_only(self):
        """No session moves between the others."""
        before, after = engines(3), [*engines(2), PooledEngine(Named("gpu-2"), weight=2.0)]
        for number in range(200):
            old = by_preference(before, key(number))[0].engine.name
            new = by_preference(after, key(number))[0].engine.name
            assert new in {old, "gpu-2"}


class TestOutranked:
    """What comes before affinity."""

    def test_an_open_breaker(self):
        """The session moves at once, and not after its first failure."""
        pool = EnginePool(engines(2), session_load_bound=BOUND)
        own = name_for(pool, key(1))
        break_down(pool, own, now=1.0)
        assert name_for(pool, key(1), 1.1) != own

    def test_a_backoff(self):
        """An engine that asked to be left alone is."""
        pool = EnginePool(engines(2), session_load_bound=BOUND)
        slot = ask(pool, key(1))
        assert slot is not None
        pool.release(slot, AttemptOutcome.BACKOFF, 0.0, wait=5.0)
        assert name_for(pool, key(1), 1.0) != slot.pooled.engine.name
        assert name_for(pool, key(1), 6.0) == slot.pooled.engine.name

    def test_a_full_engine(self):
        """A free engine takes the request: the session does not wait for its own."""
        pool = EnginePool(engines(2, max_connections=1), session_load_bound=BOUND)
        first, second, third = (ask(pool, key(1)) for _ in range(3))
        assert first is not None
        assert second is not None
        assert first.pooled is not second.pooled
        assert third is None

    def test_a_priority(self):
        """A session never prefers an engine of a higher value."""
        some = [PooledEngine(Named("a")), PooledEngine(Named("b"), priority=1)]
        pool = EnginePool(some, session_load_bound=BOUND)
        assert {name_for(pool, key(number)) for number in range(20)} == {"a"}

    def test_a_queued_request_gets_its_own_engine(self):
        """If both are free when it is served."""
        pool = EnginePool(engines(2, max_connections=1), session_load_bound=BOUND)
        own = name_for(pool, key(1))
        slots = [ask(pool, key(number), 1.0) for number in range(2)]
        granted: list[Slot] = []
        wanted = SlotRequest(
            capable=pool.engines, input_tokens=1, most_output=0, progress=lambda: 0, session=key(1)
        )
        pool.wait(wanted, granted.append)
        for slot in slots:
            assert slot is not None
            if slot.pooled.engine.name == own:
                pool.release(slot, AttemptOutcome.SUCCESS, 2.0)
        assert [slot.pooled.engine.name for slot in granted] == [own]


@examples(300)
@given(
    st.integers(2, 5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3_000), st.booleans()), max_size=60),
)
def test_the_bound_holds(count, requests):
    """When a session's request begins, its engine is within the bound over the least loaded one."""
    pool = EnginePool(
        [PooledEngine(Named(str(number)), weight=1.0 + number) for number in range(count)],
        session_load_bound=BOUND,
    )
    running: list[Slot] = []
    for second, (session, size, ends) in enumerate(requests):
        now = float(second)
        before = {pooled: pooled.outstanding(now) for pooled in pool.engines}
        slot = ask(pool, key(session), now, size=size)
        assert slot is not None
        assert before[slot.pooled] <= min(before.values()) * FACTOR + BOUND
        own = by_preference(pool.engines, key(session))[0]
        if before[own] <= min(before.values()) * FACTOR + BOUND:
            assert slot.pooled is own
        running.append(slot)
        if ends:
            pool.release(running.pop(0), AttemptOutcome.SUCCESS, now)
