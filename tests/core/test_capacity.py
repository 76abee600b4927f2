"""Admission by capacity, on simulated clocks and a simulated process."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.capacity import STANDING_SECONDS, Capacity, CapacityLimits, Measurement, Share
from tokengrpc.core.retry_delays import MAX_DELAY, MIN_DELAY, RetryDelays
from tokengrpc.core.stream_cost import DEFAULT_SHARE, START_SECONDS, StreamCost
from tokengrpc.errors import Overloaded

STANDING = round(STANDING_SECONDS / 0.05)
"""The number of measurements that decide, while the loop is not late."""
BUSY = 1_000
"""A number of generations above the minimum that is always admitted."""


class World:
    """A clock that tests move, and the process that is measured."""

    def __init__(self, **limits: float) -> None:
        self.now = 100.0
        self.start_wait = 0.0
        self.capacity = Capacity(
            CapacityLimits(**limits),
            now=lambda: self.now,
            start_wait=lambda: self.start_wait,
            jitter=random.Random(1).random,
        )

    def measure(self, *, times: int = 1, lag: float = 0.0, cpu: float = 0.0, waited: float = 0.0) -> None:
        """Measures; `cpu` and `waited` are shares of the time since the last measurement."""
        elapsed = 0.05 + lag
        for _ in range(times):
            self.now += elapsed
            self.capacity.measured(
                Measurement(elapsed=elapsed, lag=lag, cpu=cpu * elapsed, waited=waited * elapsed)
            )

    def rejects(self, active: int = BUSY) -> str:
        """Returns the cause for which one more generation is rejected; empty if it is admitted."""
        try:
            self.capacity.check(active)
        except Overloaded as error:
            return error.metadata["cause"]
        return ""


def test_a_new_process_admits():
    """Nothing was measured yet."""
    assert World().rejects() == ""


def test_utilization_is_at_least_one_while_the_process_lags():
    """Otherwise it is the forecast as a fraction of its limit."""
    world = World(max_core_share=0.5)
    Share(world.capacity, queued=False)
    assert world.capacity.utilization == pytest.approx(2 * DEFAULT_SHARE)
    world.measure(times=STANDING + 1, lag=0.2)
    assert world.capacity.utilization == 1
    world.measure(times=2 * STANDING)
    assert world.capacity.utilization < 1


def test_standing_lag_rejects_until_it_is_below_half():
    """A lag that lasts. It must fall well below the limit before generations are admitted again."""
    world = World(max_loop_lag=0.1)
    world.measure(times=2, lag=0.2)
    assert world.rejects() == "loop_lag"
    world.measure(times=STANDING, lag=0.06)
    assert world.rejects() == "loop_lag"
    world.measure(lag=0.04)
    assert world.rejects() == ""
    world.measure(times=STANDING, lag=0.06)
    assert world.rejects() == ""


def test_a_single_pause_rejects_nobody():
    """A garbage collection, or a neighbour that takes the core for a moment."""
    world = World()
    world.measure(times=STANDING)
    world.measure(lag=2.0)
    assert world.rejects() == ""
    world.measure(times=STANDING)
    world.measure(lag=0.3)
    assert world.rejects() == ""
    world.measure(lag=0.3)
    assert world.rejects() == "loop_lag"


def test_the_wait_for_a_core_rejects():
    """When it lasts: half a second of it does not, some seconds do."""
    world = World(max_core_wait=0.5)
    world.measure(times=10, waited=0.9)
    assert world.rejects() == ""
    world.measure(times=50, waited=0.9)
    assert world.rejects() == "core_wait"
    world.measure(times=100, waited=0.0)
    assert world.rejects() == ""


def test_a_call_that_waited_too_long_is_rejected():
    """Its caller has waited already. Calls that come later are not affected."""
    world = World(max_start_wait=0.25)
    world.start_wait = 0.3
    assert world.rejects() == "start_wait"
    world.start_wait = 0.2
    assert world.rejects() == ""


def test_few_generations_are_always_admitted():
    """Whatever is measured, so that a process that only rejects does not stay that way."""
    world = World(min_generations=8)
    world.measure(times=100, lag=1.0, waited=1.0)
    world.start_wait = 10.0
    assert world.rejects(7) == ""
    assert world.rejects(8) != ""


@pytest.mark.parametrize("limit", ["max_loop_lag", "max_core_share", "max_core_wait", "max_start_wait"])
def test_zero_disables_a_limit(limit):
    """The others still reject."""
    causes = {name: name.removeprefix("max_") for name in CapacityLimits.__slots__ if name.startswith("max_")}
    world = World(**{name: 0.0 for name in causes if name != limit})
    world.measure(times=100, lag=1.0, waited=1.0)
    world.start_wait = 10.0
    for _ in range(BUSY):
        world.capacity.admitted()
    assert world.rejects() == causes[limit]
    assert World(**dict.fromkeys(causes, 0.0)).rejects() == ""


def test_a_burst_is_bounded_before_its_cost_is_known():
    """As many as a core can serve of the assumed kind."""
    world = World(max_core_share=1.0)
    admitted = 0
    while not world.rejects():
        world.capacity.admitted()
        admitted += 1
    assert admitted == pytest.approx(1 / DEFAULT_SHARE, abs=2)


def test_generations_that_end_without_output_leave_no_trace():
    """An engine that refuses everything does not make the process look full."""
    world = World()
    for _ in range(10 * BUSY):
        world.now += 0.001
        world.capacity.admitted().ended()
    assert world.capacity.forecast == pytest.approx(0.0, abs=1e-6)
    assert world.rejects() == ""


def test_generations_that_wait_for_an_engine_cost_nothing():
    """However many of them there are. They count from the moment at which an engine is called."""
    world = World()
    shares = [world.capacity.admitted(queued=True) for _ in range(BUSY)]
    assert world.capacity.forecast == 0.0
    assert world.rejects() == ""
    for share in shares:
        share.called()
    assert world.capacity.forecast == pytest.approx(BUSY * DEFAULT_SHARE)
    assert world.rejects() == "core_share"
    world.capacity.check(BUSY, queued=True)


MOVES = st.sampled_from(["admit", "admit to the queue", "queued", "called", "output_started", "ended"])


@given(st.lists(st.tuples(MOVES, st.integers(0, 99)), max_size=200))
def test_the_forecast_counts_what_runs(moves):
    """Those with output count once, those whose engine was called at most once, all others not at all."""
    world = World()
    states: dict[object, str] = {}
    for move, number in moves:
        world.now += 0.1
        if move.startswith("admit"):
            queued = move == "admit to the queue"
            states[world.capacity.admitted(queued=queued)] = "queued" if queued else "called"
        elif states:
            share = list(states)[number % len(states)]
            getattr(share, move)()
            if move == "ended":
                del states[share]
            elif states[share] != "output_started":
                states[share] = move
        producing = list(states.values()).count("output_started")
        called = list(states.values()).count("called")
        counted = world.capacity.forecast / DEFAULT_SHARE
        assert producing - 1e-6 <= counted <= producing + called + 1e-6
    for share in states:
        share.ended()
    assert world.capacity.forecast == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.02])
def test_the_cost_is_learned(share):
    """Cheap and dear generations alike, within a few seconds of a hundred of them."""
    cost = StreamCost()
    for _ in range(200):
        cost.learn(elapsed=0.05, needed=100 * share * 0.05, producing=100, outputs=400, starts=0, refusals=0)
    assert cost.share == pytest.approx(share, rel=0.4, abs=0.0003)


def test_starts_and_refusals_are_not_the_cost_of_generations():
    """A storm of refused calls takes the whole core, and teaches nothing about those that run."""
    cost = StreamCost()
    for _ in range(400):
        cost.learn(elapsed=0.05, needed=0.05, producing=50, outputs=200, starts=0, refusals=150)
    assert cost.share == DEFAULT_SHARE


def test_starved_generations_do_not_look_cheap():
    """A process that is never idle has too many already. If it divided the core among them, it took more."""
    cost = StreamCost()
    for producing in range(50, 1_000):
        cost.learn(elapsed=0.05, needed=0.05, producing=producing, outputs=600, starts=0, refusals=0)
    assert cost.share > DEFAULT_SHARE / 2


def test_seldom_output_shows_cheap_streams_before_their_cost():
    """Starts hide what streams need, but not how often these have output."""
    shares = []
    for outputs in (0, 2, 40):
        cost = StreamCost()
        for _ in range(4):
            cost.learn(elapsed=0.05, needed=0.02, producing=10, outputs=outputs, starts=10, refusals=0)
        shares.append(cost.share)
    assert shares[0] < shares[1] < 0.6 * DEFAULT_SHARE
    assert shares[2] == pytest.approx(DEFAULT_SHARE)


@pytest.mark.parametrize(("needed", "refusals"), [(0.02, 10), (0.05, 0)])
def test_streams_held_up_do_not_look_seldom(needed, refusals):
    """In a burst, their output waits: callers are refused, or the process is never idle."""
    cost = StreamCost()
    for _ in range(4):
        cost.learn(elapsed=0.05, needed=needed, producing=95, outputs=0, starts=0, refusals=refusals)
    assert cost.share == DEFAULT_SHARE


def test_streams_that_just_started_do_not_look_seldom():
    """A hundred have their first output at the end of the time that was measured."""
    cost = StreamCost()
    cost.learn(elapsed=0.05, needed=0.03, producing=100, outputs=0, starts=0, refusals=0)
    assert cost.share == DEFAULT_SHARE


def test_more_output_than_assumed_is_not_a_cost():
    """Only what it needs is."""
    cost = StreamCost()
    for _ in range(2):
        cost.learn(elapsed=0.05, needed=0.01, producing=10, outputs=10_000, starts=0, refusals=0)
    assert cost.share == DEFAULT_SHARE


def test_seldom_but_dear_output_is_noticed():
    """The rate is only assumed to say what streams need: the measured cost counts more."""
    cost = StreamCost()
    for _ in range(20):
        cost.learn(elapsed=0.05, needed=0.04, producing=80, outputs=4, starts=0, refusals=0)
    assert cost.share == pytest.approx(0.01, rel=0.4)


def test_waiting_for_a_core_counts_as_need():
    """A neighbour leaves half of the core. Half as many generations fit as on an idle machine."""
    alone, beside = World(), World()
    for world, waited in ((alone, 0.0), (beside, 0.4)):
        for _ in range(40):
            world.capacity.admitted().output_started()
        world.measure(times=400, cpu=0.4, waited=waited)
    assert beside.capacity.forecast == pytest.approx(2 * alone.capacity.forecast, rel=0.1)


def test_an_idle_process_forgets_nothing():
    """The last generations are the best guess for the next ones."""
    cost = StreamCost()
    for _ in range(200):
        cost.learn(elapsed=0.05, needed=0.04, producing=20, outputs=80, starts=0, refusals=0)
    learned = cost.share
    for _ in range(10_000):
        cost.learn(elapsed=0.05, needed=0.001, producing=0, outputs=0, starts=0, refusals=0)
    assert cost.share == learned


SEEDS = st.integers(0, 10_000)


@given(
    st.floats(0.25, 2.0), st.floats(0.00005, 0.00015), st.floats(0.0, 0.5), st.sampled_from([0.0, 0.3]), SEEDS
)
def test_a_ramp_tells_starts_from_streams(starts, share, noise, waited, seed):
    """100 starts a second at random, of another cost than assumed, on a noisy host with busy neighbours.

    The forecast is near what those that run need, although starts need far more for most of the time.
    """
    chance, cost, producing = random.Random(seed), StreamCost(), 0.0
    for _ in range(400):
        started = sum(chance.random() < 0.5 for _ in range(10))
        need = started * starts * START_SECONDS + producing * share * 0.05
        need *= chance.lognormvariate(-noise * noise / 2, noise) / (1 - waited * 2 * chance.random())
        cost.learn(
            elapsed=0.05,
            needed=min(0.05, need),
            producing=round(producing),
            outputs=round(producing / 20),
            starts=started,
            refusals=0,
        )
        producing += started
    slower = 1.0 if not waited else 1.4
    assert 0.5 * share < cost.share < 1.6 * slower * share + 0.5 / producing


MEASURED = st.builds(
    dict,
    elapsed=st.floats(0.0, 3.0),
    needed=st.floats(0.0, 3.0),
    producing=st.integers(0, 10_000),
    outputs=st.integers(0, 100_000),
    starts=st.integers(0, 4_000),
    refusals=st.integers(0, 4_000),
)


@given(st.lists(MEASURED, max_size=100))
def test_whatever_is_measured_the_estimate_is_bounded(measurements):
    """Also where starts and streams always come together, or clocks are wrong."""
    cost = StreamCost()
    for each in measurements:
        cost.learn(**each)
        assert 0.0 <= cost.share <= 1_000.0
        assert 0.0 <= cost.start_seconds <= 3 * START_SECONDS


def test_one_pause_does_not_make_streams_look_dear():
    """A garbage collection of 50 ms, in a process with cheap streams."""
    cost = StreamCost()
    for number in range(400):
        pause = 0.05 if number == 390 else 0.0
        elapsed, needed = 0.05 + pause, 0.015 + pause
        cost.learn(elapsed=elapsed, needed=needed, producing=3_000, outputs=150, starts=0, refusals=0)
    assert cost.share == pytest.approx(0.0001, rel=0.3)


def test_a_dearer_kind_of_stream_is_noticed_at_once():
    """Thousands of cheap ones that ran before count no more than the few that run now."""
    cost = StreamCost()
    for _ in range(400):
        cost.learn(elapsed=0.05, needed=0.025, producing=5_000, outputs=1_000, starts=0, refusals=0)
    for _ in range(10):
        cost.learn(elapsed=0.05, needed=0.045, producing=90, outputs=360, starts=0, refusals=0)
    assert 0.005 < cost.share < 0.012


@given(st.floats(1.0, 200.0), st.integers(1, 3_000))
def test_callers_are_told_to_come_one_after_another(rate, callers):
    """Their turns are spread over the time in which so many can be admitted, or over the longest delay."""
    delays = RetryDelays(random.Random(2).random)
    told = [delays.next(10.0, rate) for _ in range(callers)]
    assert min(told) > 0
    assert max(told) <= MAX_DELAY * 1.25
    assert len(set(told)) == callers
    mean = sum(told) / callers
    due = MIN_DELAY + (callers + 1) / rate / 2
    assert mean == pytest.approx(min(due, MAX_DELAY * 0.625), rel=0.5)


def test_the_queue_of_rejected_callers_empties_by_time():
    """A caller that comes when the others have had their turn waits no longer than the first."""
    delays = RetryDelays(lambda: 0.5)
    first = delays.next(0.0, 10.0)
    for _ in range(100):
        delays.next(0.0, 10.0)
    assert delays.next(0.0, 10.0) > 5 * first
    assert delays.next(60.0, 10.0) == pytest.approx(first)


@dataclass
class Process:
    """A process with one core: paced streams of equal cost, and callers that come back when told to.

    A stream needs `share` of the core, and its start `start_seconds`. The loop is late by what it cannot do
    in time. Callers come at one moment, or over `ramp` seconds. The first output comes after `engine_delay`,
    or up to `spread` seconds later, and then `rate` times a second.
    """

    share: float
    callers: int
    seconds: float
    engine_delay: float
    start_seconds: float = 0.0
    ramp: float = 0.0
    spread: float = 0.0
    rate: float = 80.0
    noise: float = 0.0
    elapsed: float = 0.05
    world: World = field(default_factory=World)
    most: int = 0
    finished: int = 0
    late: float = 0.0
    told: list[float] = field(default_factory=list)

    def run(self, until: float) -> None:
        """Starts all callers, and serves until then."""
        world, capacity, chance = self.world, self.world.capacity, random.Random(3)
        due = [world.now + self.ramp * chance.random() for _ in range(self.callers)]
        streams: list[tuple[Share, float, float]] = []  # with the times of the first output and of the end
        producing: set[Share] = set()
        while world.now < until:
            now = world.now
            arriving, due = [at for at in due if at <= now], [at for at in due if at > now]
            running = len(streams)
            for _ in arriving:
                try:
                    capacity.check(len(streams))
                except Overloaded as error:
                    self.told.append(error.retry_after)
                    due.append(now + error.retry_after)
                    continue
                output = now + self.engine_delay + self.spread * chance.random()
                streams.append((capacity.admitted(), output, output + self.seconds))
            for share, output, _ in streams:
                if output <= now:
                    producing.add(share)
                    share.output_started()
            for stream in [stream for stream in streams if stream[2] <= now]:
                streams.remove(stream)
                producing.discard(stream[0])
                stream[0].ended()
                self.finished += 1
            self.most = max(self.most, len(streams))
            need = self.share * len(producing)
            self.late += max(0.0, need - 1.0) * 0.05
            capacity.output(round(len(producing) * self.rate * self.elapsed / max(1.0, need)))
            work = need * self.elapsed + (len(streams) - running) * self.start_seconds
            work *= chance.lognormvariate(-self.noise * self.noise / 2, self.noise)
            lag = min(max(0.0, work - 0.05), 0.5)
            self.elapsed = 0.05 + lag
            world.measure(lag=lag, cpu=min(1.0, work / self.elapsed))


@pytest.mark.parametrize("share", [0.003, 0.005, 0.008])
@pytest.mark.parametrize("engine_delay", [0.0, 1.0])
def test_dear_streams_fit_the_core(share, engine_delay):
    """Of 2,000 at one moment about as many run as the core can serve, and in the end all have."""
    process = Process(share=share, callers=2_000, seconds=5.0, engine_delay=engine_delay)
    process.run(until=100.0 + 10.0)
    assert 0.4 / share < process.most < 2.2 / share
    assert len(set(process.told)) == len(process.told)
    before = process.finished
    process.run(until=100.0 + 30.0)
    assert process.finished > before


@pytest.mark.parametrize("rate", [50.0, 20.0])
def test_streams_with_dear_output_fit_the_core(rate):
    """Each output needs up to three times what is assumed, which is measured soon."""
    process = Process(share=0.008, callers=2_000, seconds=5.0, engine_delay=0.3, ramp=5.0, rate=rate)
    process.run(until=100.0 + 20.0)
    assert 0.4 / process.share < process.most < 2.2 / process.share


def test_cheap_streams_are_all_served_soon():
    """Their cost is learned, so that far more of them run than of the assumed kind."""
    process = Process(share=0.0002, callers=3_000, seconds=600.0, engine_delay=0.0)
    process.run(until=100.0 + 45.0)
    assert process.most > 2_500
    assert process.late == 0.0


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_slow_streams_are_admitted_while_starts_cost_much(noise):
    """5,000 of a token a second, 200 starts a second, whose cost is not taken for the cost of streams."""
    process = Process(
        share=0.0001,
        callers=5_000,
        seconds=600.0,
        engine_delay=0.0,
        spread=1.0,
        rate=1.0,
        start_seconds=0.0025,
        ramp=25.0,
        noise=noise,
    )
    process.run(until=100.0 + 30.0)
    assert process.most > 4_900
    assert process.world.capacity.rejections["core_share"] == 0
    assert len(process.told) < 300


def test_dear_streams_after_cheap_ones_fit_the_core():
    """4,000 at one moment, in a process that has learned from streams that need a fiftieth."""
    world = World()
    cheap = Process(
        share=0.0001, callers=1_000, seconds=5.0, engine_delay=0.5, ramp=10.0, rate=1.0, world=world
    )
    cheap.run(until=130.0)
    dear = Process(share=0.005, callers=4_000, seconds=10.0, engine_delay=0.5, world=world)
    dear.run(until=150.0)
    assert 0.4 / dear.share < dear.most < 2.2 / dear.share
