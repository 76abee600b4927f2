"""What a change costs or saves: the CPU time of paced tokens here, divided by that in another tree.

Servers of this repository and of a tree with other code, such as a git worktree of an older commit, run at
the same time before one engine, each under the same load: a busy machine disturbs both. Two servers of equal
code differ by some percent for as long as they run, so they are started anew each round.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from bench import machine
from bench.run import EVERYBODY, ROOT, SCENARIOS, Bench, Server, relay_commands

HERE, THERE = "here", "there"
_JOB = SCENARIOS["paced"][""] | {"streams": 30, "windows": 14, "window_s": 0.5}


def server(tree: Path, engine: Server) -> Server:
    """Starts a server with the code of a tree."""
    _, _, *command = relay_commands(f"http://{engine.address}/v1")["tokengrpc"]
    path = os.pathsep.join([str(tree), str(tree / "generated" / "python")])
    # -P, because the working directory is this repository.
    return Server(str(tree), ["-P", "-m", "tokengrpc", *command], EVERYBODY | {"PYTHONPATH": path})


def ratio(trees: dict[str, Path], seed: int) -> float:
    """Returns the median ratio of windows in one round."""
    with ExitStack() as stack:
        engine = Server("the engine", ["-m", "bench.engine", "--listen", "127.0.0.1:0"])
        stack.callback(engine.stop)
        relays: dict[str, Server] = {}
        for name in trees if seed % 2 else reversed(trees):
            relays[name] = server(trees[name], engine)
            stack.callback(relays[name].stop)
        bench = Bench(engine, relays, lambda _: None)

        def windows(name: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = bench.load(name, _JOB | {"seed": seed})["windows"]
            return found

        with ThreadPoolExecutor() as pool:
            here, there = pool.map(windows, (HERE, THERE))
    pairs = zip(here, there, strict=False)
    ratios: list[float] = [mine["cpu_us_per_token"] / other["cpu_us_per_token"] for mine, other in pairs]
    return median(ratios)


def main() -> int:
    """Measures, and prints the ratio of each round, their mean and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tree", type=Path, help="a checkout of the code to compare with")
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    trees = {HERE: ROOT, THERE: arguments.tree.resolve()}
    ratios = sorted(ratio(trees, seed) for seed in range(1, arguments.rounds + 1))
    error = stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    print(*(f"{value:.3f}" for value in ratios))
    print(f"mean {mean(ratios):.3f} ± {error:.3f}, load average {machine.facts()['loadavg'][0]} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
