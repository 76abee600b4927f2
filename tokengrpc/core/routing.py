"""Which engine of a model runs a request, and the line for a place on one. No I/O; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokengrpc.core.breaker import Breaker, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.engine import Engine

_FIRST_GUESS = 256.0
_LEARNING = 0.1
_REFRESH = 0.1
# Checks come at intervals that vary by a quarter; traffic in the shortest of them replaces one.
_QUIET = 0.75


class Member:
    """One engine of a model, with what runs on it and how it did. `max_connections` 0 is no limit."""

    def __init__(
        self,
        engine: Engine,
        *,
        weight: float = 1.0,
        priority: int = 0,
        max_connections: int = 0,
        check_interval: float = 0.0,
    ) -> None:
        self.engine = engine
        self.priority = priority
        self.check_interval = check_interval
        self.breaker = Breaker()
        self.last_used = 0.0
        self._weight = weight
        self._max = max_connections
        self._claims: dict[Claim, None] = {}
        self._answered: bool | None = None
        self._load = 0.0
        self._load_until = 0.0

    @property
    def running(self) -> int:
        """Attempts that run on it."""
        return len(self._claims)

    @property
    def failed(self) -> bool:
        """Whether it failed the last it was asked."""
        return self._answered is False

    @property
    def has_place(self) -> bool:
        """Whether another attempt may run on it."""
        return not self._max or len(self._claims) < self._max

    @property
    def healthy(self) -> bool | None:
        """Whether it answered the last it was asked; None when it was not asked yet."""
        return self.engine.healthy if self._answered is None else self._answered

    def outstanding(self, now: float) -> float:
        """Tokens still to be worked off, divided by its weight."""
        # What has come since is looked up ten times a second at most: engines may run thousands.
        if now >= self._load_until:
            self._load = sum(claim.outstanding for claim in self._claims)
            self._load_until = now + _REFRESH
        return self._load / self._weight

    def wants_check(self, now: float) -> bool:
        """Whether only a check would tell how it is: no traffic lately, or none that is let through."""
        return not self.breaker.closed or (
            not self._claims and now - self.last_used >= self.check_interval * _QUIET
        )

    def checked(self, now: float, *, well: bool) -> None:
        """A check in the background has ended."""
        self._answered = well
        if well:
            self.breaker.checked_well(now)
        else:
            self.breaker.failed(now, trial=False)

    def take(self, claim: Claim, now: float) -> None:
        """A claim has got a place."""
        self._claims[claim] = None
        self._load += claim.outstanding
        self.last_used = now

    def give_back(self, claim: Claim, verdict: Verdict, wait: float, now: float) -> None:
        """A claim has ended."""
        del self._claims[claim]
        self._load_until = 0.0
        self.last_used = now
        self.breaker.judged(verdict, now, trial=claim.trial, wait=wait)
        if verdict is not Verdict.UNJUDGED:
            self._answered = verdict is not Verdict.ILL


@dataclass(slots=True, kw_only=True, eq=False)
class Ask:
    """A request that wants a place. `progress` tells how many tokens have been generated for it."""

    able: Sequence[Member]
    input_tokens: int
    most_output: int | None
    progress: Callable[[], int]
    left: list[Member] = field(init=False)
    """The members that it may run on next."""
    retries: bool = field(init=False, default=False)
    _last: Member | None = field(init=False, default=None)
    _unable: set[Member] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """All may at first."""
        self.left = list(self.able)

    def failed(self, member: Member, *, for_good: bool) -> None:
        """An attempt on a member has failed; `for_good` where another one there would fail as well."""
        self.retries = True
        if for_good:
            self._unable.add(member)
        self.left = [other for other in self.left if other is not member]
        self._last = member

    def wants_more(self, now: float) -> bool:
        """Whether another attempt may help.

        When all were tried, those that failed before the last one may be asked again: an engine that was lost
        may be back. Not those of which it is known to be in vain, nor those that asked to be left alone.
        """
        if not self.left:
            again = (m for m in self.able if m is not self._last and m not in self._unable)
            self.left = [member for member in again if not member.breaker.busy_at(now)]
        return bool(self.left)


class Claim:
    """A place on an engine, for one attempt."""

    def __init__(self, ask: Ask, member: Member, expected: float) -> None:
        self.member = member
        self.ask = ask
        self.trial = member.breaker.begin()
        self._expected = expected

    @property
    def outstanding(self) -> float:
        """Tokens of the input, and of the output that is still expected."""
        return self.ask.input_tokens + max(self._expected - self.ask.progress(), 0.0)

    def speaks(self) -> None:
        """The engine has brought output: a trial has succeeded."""
        if self.trial:
            self.member.breaker.succeeded(trial=True)
            self.trial = False


class Pool:
    """The engines of a model.

    A request runs where the fewest tokens are outstanding for the engine's weight, among those with the
    lowest priority that may be asked and have a free place. Where those that may be asked are all full, it
    waits in line. When none may be asked, the one that recovers soonest is asked all the same: to refuse
    would only make the failure certain.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._line: dict[Ask, Callable[[Claim], None]] = {}
        self._typical_output = _FIRST_GUESS
        self._serving = False
        self._wakes_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    def claim(self, ask: Ask, now: float) -> Claim | None:
        """A place for a request that has members left; None when it must wait for one."""
        self.serve(now)
        member = _choose(ask, now)
        return None if member is None else self._take(ask, member, now)

    def wait(self, ask: Ask, granted: Callable[[Claim], None]) -> None:
        """Puts a request that got no place at the end of the line; `granted` is called with its claim."""
        self._line[ask] = granted

    def leave(self, ask: Ask) -> None:
        """A request does not wait any more."""
        self._line.pop(ask, None)

    def release(self, claim: Claim, verdict: Verdict, now: float, *, wait: float = 0.0) -> None:
        """An attempt has ended; who waits may get its place. `wait` is what a busy engine asks for."""
        claim.member.give_back(claim, verdict, wait, now)
        if verdict is Verdict.WELL:
            self._typical_output += _LEARNING * (claim.ask.progress() - self._typical_output)
        self.serve(now)

    def speaks(self, claim: Claim, now: float) -> None:
        """An engine has brought output; if that was a trial, others in line may be sent there too."""
        if claim.trial:
            claim.speaks()
            self.serve(now)

    def wakes_in(self, now: float) -> float | None:
        """How long until `wake` is to be called, for those in line: an engine may be asked again then.

        None where no engine is left alone, and where the same was answered before.
        """
        left_alone = [m.breaker.waits_until for m in self.members if m.breaker.waits_until > now]
        if not self._line or not left_alone or now < self._wakes_at <= min(left_alone):
            return None
        self._wakes_at = min(left_alone)
        return self._wakes_at - now

    def wake(self, now: float) -> None:
        """The time that `wakes_in` told is over."""
        self._wakes_at = 0.0
        self.serve(now)

    def serve(self, now: float) -> None:
        """Gives free places to those in line, first come, first served."""
        # Who is granted a place may give it back at once, a whole line of callers who are gone: the loop that
        # runs hands it on.
        if self._serving:
            return
        self._serving = True
        try:
            for ask, granted in list(self._line.items()):
                if not any(member.has_place for member in self.members):
                    return
                member = _choose(ask, now)
                if member is not None:
                    del self._line[ask]
                    granted(self._take(ask, member, now))
        finally:
            self._serving = False

    def _take(self, ask: Ask, member: Member, now: float) -> Claim:
        most = ask.most_output
        expected = self._typical_output if most is None else min(self._typical_output, most)
        claim = Claim(ask, member, expected)
        member.take(claim, now)
        return claim


def _choose(ask: Ask, now: float) -> Member | None:
    left = ask.left
    if len(left) == 1:
        return left[0] if left[0].has_place else None
    admitted = [member for member in left if member.breaker.admits(now)]
    free = [member for member in admitted if member.has_place]
    if free:
        # After a failure, one that did not fail the last it was asked. Of equals, the one idle longest.
        return min(
            free,
            key=lambda m: (ask.retries and m.failed, m.priority, m.outstanding(now), m.last_used),
        )
    if admitted:
        return None
    free = [member for member in left if member.has_place]
    return min(free, key=lambda m: (m.breaker.waits_until, m.priority), default=None)
