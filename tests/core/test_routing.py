"""The choice of engines, the wait queue, and the meaning of outcomes. The tests pass in the times."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc import errors
from tokengrpc.core.breaker import CONSECUTIVE, AttemptOutcome, classify_outcome
from tokengrpc.core.pooled_engine import PooledEngine, Slot, SlotRequest
from tokengrpc.core.routing import EnginePool

SUCCESS, FAILURE, BACKOFF, NEUTRAL = (
    AttemptOutcome.SUCCESS,
    AttemptOutcome.FAILURE,
    AttemptOutcome.BACKOFF,
    AttemptOutcome.NEUTRAL,
)


@dataclass
class Named:
    """The fields of an engine that the policy reads."""

    name: str
    healthy: bool | None = None


def pooled(name: str, **settings) -> PooledEngine:
    return PooledEngine(Named(name), **settings)


def slot_request(
    pool: EnginePool, *, size: int = 10, most: int | None = None, progress=lambda: 0, capable=None
) -> SlotRequest:
    return SlotRequest(
        capable=capable or pool.engines, input_tokens=size, most_output=most, progress=progress
    )


def taken(pool: EnginePool, now: float = 0.0, **more) -> str:
    slot = pool.acquire(slot_request(pool, **more), now)
    return "" if slot is None else slot.pooled.engine.name


def break_down(pool: EnginePool, *names: str, now: float = 0.0) -> None:
    """Opens the circuit breakers of some engines of the pool."""
    for each in pool.engines:
        if each.engine.name in names:
            for _ in range(CONSECUTIVE):
                slot = pool.acquire(slot_request(pool, capable=[each]), now)
                assert slot is not None
                pool.release(slot, FAILURE, now)


@dataclass
class Row:
    """Engines, their load, the unhealthy ones, and the expected choice."""

    engines: tuple[PooledEngine, ...]
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    ill: tuple[str, ...] = ()
    next: str = ""


ROWS = {
    "an idle one before a loaded one": Row((pooled("a"), pooled("b")), {"a": (10, 1)}, next="b"),
    "input counts": Row((pooled("a"), pooled("b")), {"a": (500, 10), "b": (10, 200)}, next="b"),
    "expected output counts": Row((pooled("a"), pooled("b")), {"a": (10, 250), "b": (200, 10)}, next="b"),
    "weights divide": Row(
        (pooled("a", weight=4.0), pooled("b")), {"a": (300, 100), "b": (100, 50)}, next="a"
    ),
    "priorities come first": Row((pooled("a", priority=1), pooled("b")), {"b": (10_000, 10_000)}, next="b"),
    "the next tier when all of one are full": Row(
        (pooled("a", priority=1), pooled("b", max_connections=1)), {"b": (1, 1)}, next="a"
    ),
    "the next tier when all of one are ill": Row(
        (pooled("a", priority=1), pooled("b")), ill=("b",), next="a"
    ),
    "the ill are passed over": Row((pooled("a"), pooled("b")), {"b": (9_999, 9_999)}, ill=("a",), next="b"),
    "when all are ill, the one that recovers soonest": Row(
        (pooled("a"), pooled("b", priority=1)), ill=("a", "b"), next="a"
    ),
    "when the well one is full, nobody": Row(
        (pooled("a"), pooled("b", max_connections=1)), {"b": (1, 1)}, ill=("a",), next=""
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_choice_of_an_engine(name):
    """Each row has the expected engine."""
    row = ROWS[name]
    pool = EnginePool(row.engines)
    for number, ill in enumerate(row.ill):
        break_down(pool, ill, now=number * 0.1)
    for each in pool.engines:
        if each.engine.name in row.running:
            size, most = row.running[each.engine.name]
            assert pool.acquire(slot_request(pool, size=size, most=most, capable=[each]), 0.5) is not None
    assert taken(pool, 0.5) == row.next


def test_progress_reduces_an_engines_load():
    """Tokens that were generated no longer count as outstanding."""
    pool = EnginePool([pooled("a"), pooled("b")])
    done = 0
    first, second = pool.engines
    pool.acquire(slot_request(pool, most=250, progress=lambda: done, capable=[first]), 0.0)
    pool.acquire(slot_request(pool, most=100, capable=[second]), 0.0)
    done = 249
    assert taken(pool, 1.0) == "a"


def test_equal_engines_take_turns():
    """Of idle engines, the one that was idle longest is chosen."""
    pool = EnginePool([pooled("a"), pooled("b"), pooled("c")])
    names = []
    for now in range(1, 7):
        slot = pool.acquire(slot_request(pool), float(now))
        names.append(slot.pooled.engine.name)
        pool.release(slot, SUCCESS, now + 0.5)
    assert names == ["a", "b", "c", "a", "b", "c"]


def test_a_single_engine_is_chosen_however_unhealthy_it_is():
    """Rejecting the request would guarantee a failure."""
    pool = EnginePool([pooled("a")])
    break_down(pool, "a")
    assert taken(pool) == "a"
    assert taken(pool) == "a"


def test_an_unhealthy_engine_receives_one_trial():
    """It receives one request after its cool-down.

    The first output closes the breaker, long before the end.
    """
    pool = EnginePool([pooled("a"), pooled("b", priority=1)])
    break_down(pool, "a")
    assert taken(pool, 0.9) == "b"
    slot = pool.acquire(slot_request(pool), 1.0)
    assert slot.pooled.engine.name == "a"
    assert taken(pool, 1.0) == "b"
    slot.output_started()
    assert taken(pool, 1.0) == "a"
    pool.release(slot, NEUTRAL, 2.0)
    assert pool.engines[0].breaker.closed


def test_a_busy_engine_is_skipped_and_not_unhealthy():
    """For as long as it requests. Its health stays good."""
    pool = EnginePool([pooled("a"), pooled("b", priority=1)])
    pool.release(pool.acquire(slot_request(pool), 0.0), BACKOFF, 0.0, wait=3.0)
    assert taken(pool, 2.9) == "b"
    assert taken(pool, 3.0) == "a"
    assert pool.engines[0].healthy is True


class WaitQueue:
    """Queued requests, in the order in which they were served."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool
        self.served: list[tuple[str, Slot]] = []

    def wait(self, name: str, **more) -> SlotRequest:
        waiting = slot_request(self.pool, **more)
        assert self.pool.acquire(waiting, 0.0) is None
        self.pool.wait(waiting, lambda slot: self.served.append((name, slot)))
        return waiting


def test_the_wait_queue_is_served_in_order():
    """First come, first served. Waiters that left are skipped, and a new request does not overtake."""
    pool = EnginePool([pooled("a", max_connections=1)])
    slot = pool.acquire(slot_request(pool), 0.0)
    queue = WaitQueue(pool)
    queue.wait("first")
    gone = queue.wait("second")
    queue.wait("third")
    pool.leave(gone)
    pool.release(slot, SUCCESS, 1.0)
    assert [name for name, _ in queue.served] == ["first"]
    assert taken(pool, 1.0) == ""
    pool.release(queue.served[-1][1], SUCCESS, 2.0)
    assert [name for name, _ in queue.served] == ["first", "third"]
    assert pool.waiting == 0


def test_an_early_wake_up_is_followed_by_another_one():
    """A timer may fire a moment too early. The backoff may then expire before the next one is asked for."""
    pool = EnginePool([pooled("a"), pooled("b", max_connections=1)])
    slot = pool.acquire(slot_request(pool, capable=pool.engines[:1]), 0.0)
    assert slot is not None
    pool.release(slot, BACKOFF, 0.0, wait=0.5)
    queue = WaitQueue(pool)
    assert taken(pool, 0.1) == "b"
    queue.wait("waiting")
    assert pool.next_wakeup(0.1) == pytest.approx(0.4)
    pool.wake(0.499)
    assert not queue.served
    assert pool.next_wakeup(0.501) == 0.0
    pool.wake(0.502)
    assert [name for name, _ in queue.served] == ["waiting"]
    assert pool.next_wakeup(0.503) is None


def test_a_slot_that_is_returned_at_once_is_passed_on():
    """Each waiter gets it once, in order, however long the queue, and finally it is free."""
    pool = EnginePool([pooled("a", max_connections=1)])
    running = pool.acquire(slot_request(pool), 0.0)
    served = []

    def in_vain(slot: Slot) -> None:
        served.append(slot.request)
        pool.release(slot, NEUTRAL, 1.0)

    queue = [slot_request(pool) for _ in range(2 * sys.getrecursionlimit())]
    for waiting in queue:
        pool.wait(waiting, in_vain)
    pool.release(running, SUCCESS, 1.0)
    assert served == queue
    assert pool.waiting == 0
    assert taken(pool, 1.0) == "a"


def test_a_slot_goes_to_the_first_waiter_that_can_use_it():
    """A waiter for another engine does not delay those behind it."""
    pool = EnginePool([pooled("a", max_connections=1), pooled("b", max_connections=1)])
    first, second = pool.engines
    on_a, on_b = (
        pool.acquire(slot_request(pool, capable=[first]), 0.0),
        pool.acquire(slot_request(pool, capable=[second]), 0.0),
    )
    queue = WaitQueue(pool)
    queue.wait("only a", capable=[first])
    queue.wait("any")
    pool.release(on_b, SUCCESS, 1.0)
    assert [(name, slot.pooled) for name, slot in queue.served] == [("any", second)]
    pool.release(on_a, SUCCESS, 1.0)
    assert [(name, slot.pooled) for name, slot in queue.served][1:] == [("only a", first)]


OUTCOMES = [
    (None, SUCCESS),
    (errors.EngineUnavailable("x"), FAILURE),
    (errors.EngineBusy("x", retry_after=2), BACKOFF),
    (errors.EngineLost("x"), FAILURE),
    (errors.EngineTruncated("x"), FAILURE),
    (errors.EngineStalled("x"), FAILURE),
    (errors.EngineProtocolError("x"), FAILURE),
    (errors.EngineAborted("x"), FAILURE),
    (errors.EngineAuthFailed("x"), FAILURE),
    (errors.ModelNotFound("x"), FAILURE),
    (errors.InvalidRequest([("", "x")]), NEUTRAL),
    (errors.ContextLengthExceeded("x"), NEUTRAL),
    (errors.UnsupportedFeature("x"), NEUTRAL),
    (errors.Cancelled("x"), NEUTRAL),
    (errors.DeadlineExceeded("x"), NEUTRAL),
]


@pytest.mark.parametrize(("error", "outcome"), OUTCOMES, ids=lambda value: type(value).__name__)
def test_only_failures_of_the_engine_count(error, outcome):
    """Each row has an outcome and its effect."""
    assert classify_outcome(error) is outcome


def test_health_is_the_result_of_the_last_contact():
    """Requests and checks alike. Errors of the caller are no evidence."""
    pool = EnginePool([pooled("a")])
    (only,) = pool.engines
    assert only.healthy is None
    for outcome, healthy in (
        (NEUTRAL, None),
        (SUCCESS, True),
        (FAILURE, False),
        (NEUTRAL, False),
        (BACKOFF, True),
    ):
        pool.release(pool.acquire(slot_request(pool), 0.0), outcome, 0.0)
        assert only.healthy is healthy
    only.checked(1.0, succeeded=False, began=0.5)
    assert only.healthy is False
    only.checked(2.0, succeeded=True, began=1.5)
    assert only.healthy is True


def test_a_check_is_due_without_traffic_or_when_unhealthy():
    """Not while a request runs, nor soon after one."""
    pool = EnginePool([pooled("a", check_interval=10.0)])
    (only,) = pool.engines
    slot = pool.acquire(slot_request(pool), 100.0)
    assert not only.needs_check(200.0)
    pool.release(slot, SUCCESS, 200.0)
    assert not only.needs_check(207.0)
    assert only.needs_check(208.0)
    break_down(pool, "a", now=300.0)
    assert only.needs_check(300.0)


def test_no_check_of_an_engine_that_generates():
    """Not even while its breaker is open: some servers interrupt a generation for a check."""
    pool = EnginePool([pooled("a", check_interval=10.0)])
    (only,) = pool.engines
    slots = [pool.acquire(slot_request(pool), 100.0) for _ in range(4)]
    for slot in slots[:3]:
        pool.release(slot, FAILURE, 101.0)
    assert not only.breaker.closed
    assert not only.needs_check(200.0)
    pool.release(slots[3], NEUTRAL, 200.0)
    assert only.needs_check(200.0)


@pytest.mark.parametrize("began", [100.0, 99.0])
def test_traffic_outranks_a_failed_check(began: float):
    """A check that failed while requests ran says nothing; one that succeeded does."""
    pool = EnginePool([pooled("a")])
    (only,) = pool.engines
    for _ in range(3):
        pool.release(pool.acquire(slot_request(pool), 100.0), SUCCESS, 100.0)
        only.checked(101.0, succeeded=False, began=began)
    assert only.healthy is True
    assert only.breaker.closed


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask in vain", "end", "leave"]),
        st.integers(0, 9),
        st.sampled_from(list(AttemptOutcome)),
    )
)


@given(MOVES, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3))
def test_slots_are_neither_lost_nor_granted_twice(moves, settings):
    """Never more on an engine than its limit. In the end nothing runs and nothing is queued."""
    pool = EnginePool(
        [pooled(str(i), max_connections=most, priority=p) for i, (most, p) in enumerate(settings)]
    )
    running: list[Slot] = []
    waiting: list[SlotRequest] = []
    in_vain: set[SlotRequest] = set()
    now = 0.0

    def granted(slot: Slot) -> None:
        waiting.remove(slot.request)
        if slot.request in in_vain:
            pool.release(slot, NEUTRAL, now)
        else:
            running.append(slot)

    for name, number, outcome in moves:
        now += 0.3
        if name.startswith("ask"):
            wanted = slot_request(pool)
            if name == "ask in vain":
                in_vain.add(wanted)
            slot = pool.acquire(wanted, now)
            if slot is not None:
                running.append(slot)
            else:
                waiting.append(wanted)
                pool.wait(wanted, granted)
        elif name == "end" and running:
            pool.release(running.pop(number % len(running)), outcome, now)
        elif name == "leave" and waiting:
            pool.leave(waiting.pop(number % len(waiting)))
        for each, (most, _) in zip(pool.engines, settings, strict=True):
            assert not most or each.running <= most
        assert pool.waiting == len(waiting)
        assert sum(each.running for each in pool.engines) == len(running)
    while running:
        now += 100.0
        pool.release(running.pop(0), SUCCESS, now)
    assert not waiting
    assert all(each.running == 0 for each in pool.engines)
