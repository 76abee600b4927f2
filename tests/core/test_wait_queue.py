"""The order, the bounds and the positions of the wait queue. The tests pass in the times."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.live_objects import without_collector
from tests.support.profiles import examples
from tokengrpc.core.place import Place
from tokengrpc.core.pooled_engine import SlotRequest
from tokengrpc.core.tenant import Priority
from tokengrpc.core.wait_queue import WaitingTotal, WaitQueue

INTERACTIVE, STANDARD, BATCH = Priority
A, B = object(), object()


def cost(request: SlotRequest) -> float:
    return request.input_tokens


class Line:
    """A wait queue, and the requests that were added, by a number."""

    def __init__(self, **settings) -> None:
        self.queue = WaitQueue(**settings, jitter=lambda: 0.5)
        self.numbers = count()
        self.displaced = []
        self.now = 0.0

    def request(self, tenant="t", priority=STANDARD, *, weight=1, tokens=100, engines=(A,)) -> SlotRequest:
        place = Place(tenant=tenant, weight=weight, priority=priority)
        return SlotRequest(
            capable=engines, input_tokens=tokens, most_output=0, progress=lambda: 0, place=place
        )

    def add(self, *what, **more) -> SlotRequest | None:
        """Adds a request. Returns None if it is rejected."""
        request = self.request(*what, **more)
        return request if self.put(request) else None

    def put(self, request: SlotRequest) -> bool:
        return self.queue.add(request, lambda slot: None, lambda: self.displaced.append(request))

    def serve(self, *free) -> SlotRequest | None:
        """Serves the next request of those that a free engine may run; without `free`, any."""
        request = self.queue.first(lambda engines: not free or bool(set(free) & set(engines)))
        if request is not None:
            self.queue.serve(request, self.now)
            request.place.served = True
        return request

    def served(self, places=1_000_000) -> list[Place]:
        """Serves requests. Returns their places in the queue, in order."""
        order = []
        while len(order) < places and (request := self.serve()) is not None:
            order.append(request.place)
        return order

    def position(self, request) -> int:
        self.now += 10.0
        return self.queue.position(request, cost, self.now)


def test_requests_of_a_tenant_are_served_in_order_of_arrival():
    """Also if some leave."""
    line = Line()
    requests = [line.add() for _ in range(5)]
    line.queue.remove(requests[1])
    assert [line.serve() for _ in range(5)] == [requests[0], *requests[2:], None]


def test_higher_priorities_are_served_first():
    """Whatever came first."""
    line = Line()
    for priority in (BATCH, STANDARD, INTERACTIVE, BATCH, INTERACTIVE):
        line.add(priority=priority)
    assert [place.priority for place in line.served()] == [INTERACTIVE, INTERACTIVE, STANDARD, BATCH, BATCH]


def test_a_lower_class_gets_one_of_twenty_places():
    """Neither standard nor batch waits forever, and interactive gets what is left."""
    line = Line()
    for priority in Priority:
        for _ in range(400):
            line.add(priority=priority)
    served = Counter(place.priority for place in line.served(400))
    assert served == {INTERACTIVE: 360, STANDARD: 20, BATCH: 20}
    gaps = [at for at, place in enumerate(line.served(100)) if place.priority is BATCH]
    assert all(later - earlier <= 21 for earlier, later in pairwise(gaps))


@pytest.mark.parametrize(("weight", "tokens", "share"), [(1, 100, 0.5), (3, 100, 0.75), (1, 300, 0.25)])
def test_tenants_share_by_weight_and_tokens(weight, tokens, share):
    """A flood of one does not matter; a request with three times the tokens counts three times."""
    line = Line()
    for _ in range(5000):
        line.add("flood")
    for _ in range(1000):
        line.add("other", weight=weight, tokens=tokens)
    served = Counter(place.tenant for place in line.served(1000))
    assert served["other"] == pytest.approx(1000 * share, abs=2)


def test_a_tenant_gets_no_credit_for_the_time_before_it_waited():
    """After a thousand requests of another tenant, they take turns."""
    line = Line()
    for _ in range(2000):
        line.add("early")
    line.served(1000)
    for _ in range(100):
        line.add("late")
    assert Counter(place.tenant for place in line.served(100)) == {"early": 50, "late": 50}


def test_a_tenant_pays_for_its_output():
    """A tenant with 200 tokens of input and output gets two places for each of one with 400."""
    line = Line()
    for _ in range(200):
        line.add("much")
        line.add("little")
    served = Counter()
    for _ in range(150):
        request = line.serve()
        served[request.place.tenant] += 1
        line.queue.charge(request, 300 if request.place.tenant == "much" else 100)
    assert served["little"] == pytest.approx(100, abs=2)


def test_a_request_whose_engine_failed_is_served_first():
    """It keeps its rank before those that came later, and is not charged again."""
    line = Line()
    first, second = line.add(), line.add()
    assert line.serve() is first
    assert line.serve() is second
    others = [line.add() for _ in range(3)]
    interactive = line.add(priority=INTERACTIVE)
    assert line.put(second)
    assert line.put(first)
    assert [line.serve() for _ in range(6)] == [interactive, first, second, *others]


def test_requests_wait_for_their_own_engines():
    """One for a full engine does not hold up one for a free engine."""
    line = Line()
    only_a, both, only_b = line.add(engines=(A,)), line.add(engines=(A, B)), line.add(engines=(B,))
    assert [line.serve(B), line.serve(B), line.serve(B)] == [both, only_b, None]
    assert line.serve(A) is only_a


def test_a_full_queue_rejects():
    """Its own limit and that of all queues; a place is free again as soon as a request leaves."""
    total = WaitingTotal(3)
    one, two = Line(max_length=2, total=total), Line(total=total)
    requests = [one.add(), one.add()]
    assert one.add() is None
    assert two.add() is not None
    assert two.add() is None
    one.queue.remove(requests[0])
    assert total.waiting == 2
    assert two.add() is not None
    assert one.add() is None
    assert (len(one.queue), len(two.queue), total.waiting) == (1, 2, 3)


def test_a_higher_class_displaces_the_newest_of_the_lowest():
    """Interactive before standard before batch; never the other way round."""
    line = Line(max_length=3)
    old, new, standard = line.add(priority=BATCH), line.add(priority=BATCH), line.add(priority=STANDARD)
    assert line.add(priority=BATCH) is None
    assert line.add(priority=STANDARD) is not None
    assert line.displaced == [new]
    assert line.add(priority=INTERACTIVE) is not None
    assert line.displaced == [new, old]
    assert line.add(priority=INTERACTIVE) is not None
    assert len(line.displaced) == 3
    assert standard not in line.displaced  # the newer one of its class


def test_a_tenant_with_few_displaces_one_with_many():
    """In proportion to the weights, until they have as many; then it is rejected."""
    line = Line(max_length=8)
    flood = [line.add("flood") for _ in range(8)]
    assert line.add("flood") is None
    assert [line.add("other") is not None for _ in range(6)] == [True] * 4 + [False] * 2
    assert line.displaced == flood[:3:-1]
    assert [line.add("heavy", weight=3) is not None for _ in range(6)] == [True] * 4 + [False] * 2


def test_a_request_that_returns_is_never_rejected():
    """It was admitted before, and readers may have output."""
    line = Line(max_length=1)
    first = line.add()
    line.serve()
    line.add()
    assert line.put(first)
    assert line.serve() is first


def test_positions_are_the_order():
    """With tenants, weights, priorities and their shares."""
    line = Line()
    requests = [
        line.add(f"t{n % 3}", Priority(1 + n * 7 % 3), weight=1 + n % 3, tokens=50 + n % 5)
        for n in range(200)
    ]
    positions = {request: line.position(request) for request in requests}
    assert sorted(positions.values()) == list(range(1, 201))
    order = [line.serve() for _ in requests]
    assert order == sorted(requests, key=positions.__getitem__)
    assert line.position(requests[0]) == 0


def test_nothing_is_kept_of_requests_that_wait_no_more():
    """Neither of those that were served, nor of those that left, although their positions were asked for."""
    line = Line()
    served, left = line.add("a"), line.add("b")
    assert (line.position(served), line.position(left)) == (1, 2)
    assert line.serve() is served
    line.queue.remove(left)
    with without_collector():
        progress = [weakref.ref(request.progress) for request in (served, left)]
        del served, left
        assert [each() for each in progress] == [None, None]


def test_the_delay_is_by_how_fast_requests_are_served():
    """With ten places a second, each rejected caller is told a tenth of a second more."""
    line = Line()
    for _ in range(200):
        line.add()
    for _ in range(200):
        line.serve()
        line.now += 0.1
    first, second = (line.queue.retry_delay(line.now, 1) for _ in range(2))
    assert second - first == pytest.approx(0.1, rel=0.1)
    idle = Line()
    assert idle.queue.retry_delay(0.0, 4) == pytest.approx(0.25 + 5.0)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from("abc"),
            st.sampled_from(list(Priority)),
            st.integers(1, 3),
            st.sampled_from([(A,), (B,), (A, B)]),
        ),
        st.tuples(st.just("serve"), st.sampled_from([(A,), (B,), (A, B)])),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("return"), st.integers(0, 20)),
    ),
    max_size=60,
)


@examples(500)
@given(ACTIONS, st.integers(0, 6))
def test_no_request_is_lost_or_served_twice(actions, most):
    """Whatever happens: the lengths are right, and a free engine gets the request that must be next."""
    line = Line(max_length=most)
    waiting, served = [], []
    for action in actions:
        match action:
            case ("add", tenant, priority, weight, engines):
                request = line.add(tenant, priority, weight=weight, engines=engines)
                waiting = [each for each in waiting if each not in line.displaced]
                waiting += [request] if request is not None else []
                assert request is not None or (most and len(waiting) >= most)
            case ("serve", free):
                request = line.serve(*free)
                fit = [each for each in waiting if set(free) & set(each.capable)]
                assert (request in fit) if fit else request is None
                if request is not None:
                    waiting.remove(request)
                    served.append(request)
                    same = [each for each in fit if each.place.tenant == request.place.tenant]
                    same = [each for each in same if each.place.priority is request.place.priority]
                    returned = [each for each in same if each in served[:-1]]
                    assert request is (returned or same)[0] or len(returned) > 1
            case ("leave", at) if at < len(waiting):
                line.queue.remove(waiting.pop(at))
            case ("return", at) if at < len(served) and served[at] not in waiting:
                assert line.put(served[at])
                waiting.append(served[at])
        assert len(line.queue) == len(waiting) == sum(line.queue.lengths.values())
    assert len(line.served()) == len(waiting)


@pytest.mark.parametrize("tenants", [1, 10_000])
def test_ten_thousand_waiting_cost_no_more_each(tenants):
    """Adding, serving and leaving take as long for each of 10,000 as for each of 500."""

    def seconds(number: int) -> float:
        line = Line(max_length=number)
        requests = [line.request(f"t{n % tenants}", Priority(1 + n % 3)) for n in range(number)]
        began = time.process_time()
        for request in requests:
            line.put(request)
        for n in range(number // 2):
            line.add("late", INTERACTIVE)  # most are rejected or displace another one
            line.queue.remove(requests[n])
            line.serve()
        return (time.process_time() - began) / number

    assert min(seconds(10_000) for _ in range(2)) < 5 * min(seconds(500) for _ in range(6))
