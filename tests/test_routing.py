"""Which engine is chosen, who waits, and what an outcome means; the times are the test's."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc import errors
from tokengrpc.core.breaker import CONSECUTIVE, Verdict, judge
from tokengrpc.core.routing import Ask, Claim, Member, Pool

WELL, ILL, BUSY, UNJUDGED = Verdict.WELL, Verdict.ILL, Verdict.BUSY, Verdict.UNJUDGED


@dataclass
class Named:
    """What the policy reads of an engine."""

    name: str
    healthy: bool | None = None


def member(name: str, **settings) -> Member:
    return Member(Named(name), **settings)


def ask(pool: Pool, *, size: int = 10, most: int | None = None, progress=lambda: 0, able=None) -> Ask:
    return Ask(able=able or pool.members, input_tokens=size, most_output=most, progress=progress)


def taken(pool: Pool, now: float = 0.0, **more) -> str:
    claim = pool.claim(ask(pool, **more), now)
    return "" if claim is None else claim.member.engine.name


def break_down(pool: Pool, *names: str, now: float = 0.0) -> None:
    """Opens the breakers of some members."""
    for each in pool.members:
        if each.engine.name in names:
            for _ in range(CONSECUTIVE):
                claim = pool.claim(ask(pool, able=[each]), now)
                assert claim is not None
                pool.release(claim, ILL, now)


@dataclass
class Row:
    """Members, what runs on them, which are ill, and who is asked next."""

    members: tuple[Member, ...]
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    ill: tuple[str, ...] = ()
    next: str = ""


ROWS = {
    "an idle one before a loaded one": Row((member("a"), member("b")), {"a": (10, 1)}, next="b"),
    "input counts": Row((member("a"), member("b")), {"a": (500, 10), "b": (10, 200)}, next="b"),
    "expected output counts": Row((member("a"), member("b")), {"a": (10, 250), "b": (200, 10)}, next="b"),
    "weights divide": Row(
        (member("a", weight=4.0), member("b")), {"a": (300, 100), "b": (100, 50)}, next="a"
    ),
    "priorities come first": Row((member("a", priority=1), member("b")), {"b": (10_000, 10_000)}, next="b"),
    "the next tier when all of one are full": Row(
        (member("a", priority=1), member("b", max_connections=1)), {"b": (1, 1)}, next="a"
    ),
    "the next tier when all of one are ill": Row(
        (member("a", priority=1), member("b")), ill=("b",), next="a"
    ),
    "the ill are passed over": Row((member("a"), member("b")), {"b": (9_999, 9_999)}, ill=("a",), next="b"),
    "when all are ill, the one that recovers soonest": Row(
        (member("a"), member("b", priority=1)), ill=("a", "b"), next="a"
    ),
    "when the well one is full, nobody": Row(
        (member("a"), member("b", max_connections=1)), {"b": (1, 1)}, ill=("a",), next=""
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_who_is_asked(name):
    """Row by row."""
    row = ROWS[name]
    pool = Pool(row.members)
    for number, ill in enumerate(row.ill):
        break_down(pool, ill, now=number * 0.1)
    for each in pool.members:
        if each.engine.name in row.running:
            size, most = row.running[each.engine.name]
            assert pool.claim(ask(pool, size=size, most=most, able=[each]), 0.5) is not None
    assert taken(pool, 0.5) == row.next


def test_progress_lightens_an_engine():
    """What has come is not outstanding any more, however large it was at first."""
    pool = Pool([member("a"), member("b")])
    done = 0
    first, second = pool.members
    pool.claim(ask(pool, most=250, progress=lambda: done, able=[first]), 0.0)
    pool.claim(ask(pool, most=100, able=[second]), 0.0)
    done = 249
    assert taken(pool, 1.0) == "a"


def test_equals_take_turns():
    """Of engines with nothing to do, the one that was idle longest."""
    pool = Pool([member("a"), member("b"), member("c")])
    names = []
    for now in range(1, 7):
        claim = pool.claim(ask(pool), float(now))
        names.append(claim.member.engine.name)
        pool.release(claim, WELL, now + 0.5)
    assert names == ["a", "b", "c", "a", "b", "c"]


def test_a_single_engine_is_asked_however_ill_it_is():
    """To refuse would make the failure certain."""
    pool = Pool([member("a")])
    break_down(pool, "a")
    assert taken(pool) == "a"
    assert taken(pool) == "a"


def test_an_ill_engine_gets_one_trial():
    """After its cool-down one request goes there; output closes it at once, long before the end."""
    pool = Pool([member("a"), member("b", priority=1)])
    break_down(pool, "a")
    assert taken(pool, 0.9) == "b"
    claim = pool.claim(ask(pool), 1.0)
    assert claim.member.engine.name == "a"
    assert taken(pool, 1.0) == "b"
    claim.speaks()
    assert taken(pool, 1.0) == "a"
    pool.release(claim, UNJUDGED, 2.0)
    assert pool.members[0].breaker.closed


def test_a_busy_engine_is_left_alone_and_not_ill():
    """For as long as it asks; its health stays good."""
    pool = Pool([member("a"), member("b", priority=1)])
    pool.release(pool.claim(ask(pool), 0.0), BUSY, 0.0, wait=3.0)
    assert taken(pool, 2.9) == "b"
    assert taken(pool, 3.0) == "a"
    assert pool.members[0].healthy is True


class Line:
    """Requests that wait, in the order in which they were served."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.served: list[tuple[str, Claim]] = []

    def wait(self, name: str, **more) -> Ask:
        waiting = ask(self.pool, **more)
        assert self.pool.claim(waiting, 0.0) is None
        self.pool.wait(waiting, lambda claim: self.served.append((name, claim)))
        return waiting


def test_the_line_is_served_in_order():
    """First come, first served; who leaves is passed over; a newcomer does not overtake."""
    pool = Pool([member("a", max_connections=1)])
    claim = pool.claim(ask(pool), 0.0)
    line = Line(pool)
    line.wait("first")
    gone = line.wait("second")
    line.wait("third")
    pool.leave(gone)
    pool.release(claim, WELL, 1.0)
    assert [name for name, _ in line.served] == ["first"]
    assert taken(pool, 1.0) == ""
    pool.release(line.served[-1][1], WELL, 2.0)
    assert [name for name, _ in line.served] == ["first", "third"]
    assert pool.waiting == 0


def test_who_gives_a_place_back_at_once_hands_it_on():
    """Each gets it once, in order, however long the line, and it is free again."""
    pool = Pool([member("a", max_connections=1)])
    running = pool.claim(ask(pool), 0.0)
    served = []

    def in_vain(claim: Claim) -> None:
        served.append(claim.ask)
        pool.release(claim, UNJUDGED, 1.0)

    line = [ask(pool) for _ in range(2 * sys.getrecursionlimit())]
    for waiting in line:
        pool.wait(waiting, in_vain)
    pool.release(running, WELL, 1.0)
    assert served == line
    assert pool.waiting == 0
    assert taken(pool, 1.0) == "a"


def test_a_place_goes_to_the_first_who_can_use_it():
    """Who waits for another engine does not hold up those behind."""
    pool = Pool([member("a", max_connections=1), member("b", max_connections=1)])
    first, second = pool.members
    on_a, on_b = pool.claim(ask(pool, able=[first]), 0.0), pool.claim(ask(pool, able=[second]), 0.0)
    line = Line(pool)
    line.wait("only a", able=[first])
    line.wait("any")
    pool.release(on_b, WELL, 1.0)
    assert [(name, claim.member) for name, claim in line.served] == [("any", second)]
    pool.release(on_a, WELL, 1.0)
    assert [(name, claim.member) for name, claim in line.served][1:] == [("only a", first)]


VERDICTS = [
    (None, WELL),
    (errors.EngineUnavailable("x"), ILL),
    (errors.EngineBusy("x", retry_after=2), BUSY),
    (errors.EngineLost("x"), ILL),
    (errors.EngineTruncated("x"), ILL),
    (errors.EngineStalled("x"), ILL),
    (errors.EngineProtocolError("x"), ILL),
    (errors.EngineAborted("x"), ILL),
    (errors.EngineAuthFailed("x"), ILL),
    (errors.ModelNotFound("x"), ILL),
    (errors.InvalidRequest([("", "x")]), UNJUDGED),
    (errors.ContextLengthExceeded("x"), UNJUDGED),
    (errors.UnsupportedFeature("x"), UNJUDGED),
    (errors.Cancelled("x"), UNJUDGED),
    (errors.DeadlineExceeded("x"), UNJUDGED),
]


@pytest.mark.parametrize(("error", "verdict"), VERDICTS, ids=lambda value: type(value).__name__)
def test_only_faults_of_the_engine_count(error, verdict):
    """Row by row."""
    assert judge(error) is verdict


def test_health_is_what_the_last_contact_told():
    """Traffic and checks alike; what is the caller's own fault tells nothing."""
    pool = Pool([member("a")])
    (only,) = pool.members
    assert only.healthy is None
    for verdict, healthy in ((UNJUDGED, None), (WELL, True), (ILL, False), (UNJUDGED, False), (BUSY, True)):
        pool.release(pool.claim(ask(pool), 0.0), verdict, 0.0)
        assert only.healthy is healthy
    only.checked(1.0, well=False)
    assert only.healthy is False
    only.checked(2.0, well=True)
    assert only.healthy is True


def test_a_check_is_wanted_without_traffic_or_when_ill():
    """Not while something runs, nor soon after."""
    pool = Pool([member("a", check_interval=10.0)])
    (only,) = pool.members
    claim = pool.claim(ask(pool), 100.0)
    assert not only.wants_check(200.0)
    pool.release(claim, WELL, 200.0)
    assert not only.wants_check(207.0)
    assert only.wants_check(208.0)
    break_down(pool, "a", now=300.0)
    assert only.wants_check(300.0)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask in vain", "end", "leave"]),
        st.integers(0, 9),
        st.sampled_from(list(Verdict)),
    )
)


@given(MOVES, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3))
def test_places_are_neither_lost_nor_given_twice(moves, settings):
    """Never more on an engine than it takes, and in the end nothing runs and nobody waits."""
    pool = Pool([member(str(i), max_connections=most, priority=p) for i, (most, p) in enumerate(settings)])
    running: list[Claim] = []
    waiting: list[Ask] = []
    in_vain: set[Ask] = set()
    now = 0.0

    def granted(claim: Claim) -> None:
        waiting.remove(claim.ask)
        if claim.ask in in_vain:
            pool.release(claim, UNJUDGED, now)
        else:
            running.append(claim)

    for name, number, verdict in moves:
        now += 0.3
        if name.startswith("ask"):
            wanted = ask(pool)
            if name == "ask in vain":
                in_vain.add(wanted)
            claim = pool.claim(wanted, now)
            if claim is not None:
                running.append(claim)
            else:
                waiting.append(wanted)
                pool.wait(wanted, granted)
        elif name == "end" and running:
            pool.release(running.pop(number % len(running)), verdict, now)
        elif name == "leave" and waiting:
            pool.leave(waiting.pop(number % len(waiting)))
        for each, (most, _) in zip(pool.members, settings, strict=True):
            assert not most or each.running <= most
        assert pool.waiting == len(waiting)
        assert sum(each.running for each in pool.members) == len(running)
    while running:
        now += 100.0
        pool.release(running.pop(0), WELL, now)
    assert not waiting
    assert all(each.running == 0 for each in pool.members)
