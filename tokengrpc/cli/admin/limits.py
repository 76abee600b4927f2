"""Flags for the limits of a tenant, and the words that budgets and limits of models are written in."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer
from tokenstreaming.v1 import admin_service_pb2 as pb
from tokenstreaming.v1 import input_pb2

from tokengrpc.cli.options import INT32, INT64, between
from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from collections.abc import Collection

_BUDGET = re.compile(
    r"(?P<amount>\d{1,13}(\.\d{1,6})?)(?P<unit>tokens|[A-Z]{3})/(?P<period>day|month)"
    r"(@model:(?P<model>[^@\s]+))?(@label:(?P<label>[^@]+))?"
)
_MODEL_LIMIT = re.compile(r"(?P<model>[^=,\s]+?):(?P<limits>\w+=\d{1,18}(,\w+=\d{1,18})*)")
_RATES = {
    "generations": "max_generations",
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
}
_MICRO = 1_000_000
_PRIORITIES = {
    "interactive": input_pb2.PRIORITY_INTERACTIVE,
    "standard": input_pb2.PRIORITY_STANDARD,
    "batch": input_pb2.PRIORITY_BATCH,
}
_PERIODS = {"day": pb.BUDGET_PERIOD_DAY, "month": pb.BUDGET_PERIOD_MONTH}


def _number(flag: str, most: int, meaning: str) -> Any:  # noqa: ANN401 - typer.Option is typed so
    return typer.Option(None, flag, metavar="N", callback=between(0, most), help=f"{meaning}; 0: no limit.")


MODEL = typer.Option(None, "--model", metavar="NAME", help="A model that it may use. May be repeated.")
CEILING = typer.Option(
    None, "--priority-ceiling", metavar="NAME", help="The highest priority: interactive, standard or batch."
)
GENERATIONS = _number("--max-generations", INT32, "Maximum concurrent generations")
REQUESTS = _number("--requests-per-minute", INT32, "Maximum requests in any minute")
TOKENS = _number("--tokens-per-minute", INT64, "Maximum tokens in any minute")
OUTPUT = _number("--max-output-tokens", INT32, "Maximum output tokens of a generation")
WEIGHT = typer.Option(
    None, "--weight", metavar="N", callback=between(1, 1000), help="Its share when tenants wait."
)
MODEL_LIMIT = typer.Option(
    None,
    "--model-limit",
    metavar="NAME:LIMITS",
    help="Limits for a model: large:generations=2,requests=60,tokens=100000. May be repeated.",
)
CLEAR = typer.Option(
    [], "--clear", metavar="LIST", help="Empty models, model-limits or budgets. May be repeated."
)
BUDGET = typer.Option(
    None,
    "--budget",
    metavar="BUDGET",
    help="5EUR/month, 1000000tokens/day, with @model:NAME or @label:KEY (for each value). May be repeated.",
)


def limits_of(**flags: Any) -> dict[str, Any]:  # noqa: ANN401 - each flag has a type of its own
    """Returns the fields of a tenant that flags set. Raises BadParameter."""
    given = {name: value for name, value in flags.items() if value is not None and value != []}
    if "priority_ceiling" in given:
        given["priority_ceiling"] = _priority(given["priority_ceiling"])
    if "model_limits" in given:
        given["model_limits"] = [_model_limit(text) for text in given["model_limits"]]
    if "budgets" in given:
        given["budgets"] = [_budget(text) for text in given["budgets"]]
    return given


def budget_text(budget: pb.Budget) -> str:
    """Returns a budget as `--budget` takes it."""
    if budget.WhichOneof("amount") == "tokens":
        amount = f"{budget.tokens}tokens"
    else:
        money = Decimal(budget.amount_micros) / _MICRO
        amount = f"{money:f}{budget.currency}"
    period = short_name(pb.BudgetPeriod, budget.period, "BUDGET_PERIOD_").lower()
    model = f"@model:{budget.model}" if budget.model else ""
    label = f"@label:{budget.label_key}" if budget.label_key else ""
    return f"{amount}/{period}{model}{label}"


def model_limit_text(limits: pb.ModelLimits) -> str:
    """Returns the limits of a model as `--model-limit` takes them."""
    given = [f"{word}={getattr(limits, name)}" for word, name in _RATES.items() if getattr(limits, name)]
    return f"{limits.model}:{','.join(given)}"


def check_cleared(names: Collection[str], given: Collection[str]) -> None:
    """Raises BadParameter if a field cannot be cleared, or is set too."""
    for name in names:
        if name not in CLEARED:
            known = ", ".join(CLEARED)
            raise typer.BadParameter(f"{name!r} must be one of: {known}", param_hint="--clear")
        if CLEARED[name] in given:
            raise typer.BadParameter(f"{name} is set as well: leave one of them out", param_hint="--clear")


CLEARED = {"models": "models", "model-limits": "model_limits", "budgets": "budgets"}
"""Lists that `--clear` empties, and their fields."""


def _priority(text: str) -> int:
    if text not in _PRIORITIES:
        raise typer.BadParameter("must be interactive, standard or batch", param_hint="--priority-ceiling")
    return _PRIORITIES[text]


def _budget(text: str) -> pb.Budget:
    match = _BUDGET.fullmatch(text)
    if match is None or (match["unit"] == "tokens" and "." in match["amount"]):
        raise typer.BadParameter(
            f"{text!r} must be such as 5EUR/month, 1000000tokens/day or 0.5USD/day@label:team",
            param_hint="--budget",
        )
    budget = pb.Budget(
        period=_PERIODS[match["period"]],
        model=match["model"] or "",
        label_key=match["label"] or "",
    )
    try:
        if match["unit"] == "tokens":
            budget.tokens = int(match["amount"])
        else:
            budget.amount_micros = int(Decimal(match["amount"]) * _MICRO)
            budget.currency = match["unit"]
    except ValueError:
        raise typer.BadParameter(f"{text!r} has a number that is too large", param_hint="--budget") from None
    return budget


def _model_limit(text: str) -> pb.ModelLimits:
    match = _MODEL_LIMIT.fullmatch(text)
    words = [pair.split("=") for pair in match["limits"].split(",")] if match else []
    if match is None or any(word not in _RATES for word, _ in words):
        raise typer.BadParameter(
            f"{text!r} must be such as large:generations=2,requests=60,tokens=100000",
            param_hint="--model-limit",
        )
    try:
        return pb.ModelLimits(model=match["model"], **{_RATES[word]: int(number) for word, number in words})
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} has a number that is too large", param_hint="--model-limit"
        ) from None
