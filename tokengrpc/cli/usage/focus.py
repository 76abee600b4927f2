"""Rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification: one row for each charge.

A row's unit of pricing is the generation, because its cost is rounded once, over all kinds of tokens.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tokengrpc.cli.usage.charges import response_ids

if TYPE_CHECKING:
    from tokengrpc.cli.usage.charges import Charge

_MICRO = 1_000_000

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "x_Sequence",
    "x_RecordId",
    "x_GenerationId",
    "x_InputTokens",
    "x_OutputTokens",
    "x_ResponseIds",
)


def row(charge: Charge) -> dict[str, str]:
    """Returns the row of a charge that has a cost. Columns that are left out are null."""
    record = charge.record
    start, end = _date(record.create_time.seconds), _date(record.end_time.seconds + 1)
    month = start.replace(day=1, hour=0, minute=0, second=0)
    next_month = (month + timedelta(days=31)).replace(day=1)
    # A correction that lowers a cost has a negative quantity, because unit prices are never negative.
    cost, unit_price = decimal(charge.amount_micros), decimal(abs(charge.amount_micros))
    tokens = charge.counts["input_token_count"] + charge.counts["output_token_count"]
    version = record.cost.price_version
    return {
        "BilledCost": cost,
        "BillingAccountId": "tokengrpc",
        "BillingAccountName": "tokengrpc",
        "BillingAccountType": "Deployment",
        "BillingCurrency": charge.currency,
        "BillingPeriodEnd": _text(next_month),
        "BillingPeriodStart": _text(month),
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if charge.is_correction else "",
        "ChargeDescription": f"Tokens of a generation by {record.model}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _text(end),
        "ChargePeriodStart": _text(start),
        "ConsumedQuantity": f"{tokens}.0",
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "ContractedUnitPrice": unit_price,
        "EffectiveCost": cost,
        "InvoiceIssuerName": "tokengrpc",
        "ListCost": cost,
        "ListUnitPrice": unit_price,
        "PricingCategory": "Standard",
        "PricingCurrency": charge.currency,
        "PricingCurrencyContractedUnitPrice": unit_price,
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": unit_price,
        "PricingQuantity": "-1.0" if charge.amount_micros < 0 else "1.0",
        "PricingUnit": "Generations",
        "ProviderName": "tokengrpc",
        "PublisherName": "tokengrpc",
        "ResourceId": record.model,
        "ResourceName": record.model,
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "tokengrpc",
        "ServiceSubcategory": "Generative AI",
        "SkuId": record.model,
        "SkuMeter": "Tokens",
        "SkuPriceId": version,
        "SubAccountId": record.tenant,
        "SubAccountName": record.tenant,
        "SubAccountType": "Tenant",
        "Tags": json.dumps(dict(record.labels), sort_keys=True),
        "x_Sequence": str(charge.sequence),
        "x_RecordId": record.record_id,
        "x_GenerationId": record.generation_id,
        "x_InputTokens": str(charge.counts["input_token_count"]),
        "x_OutputTokens": str(charge.counts["output_token_count"]),
        "x_ResponseIds": " ".join(response_ids(record)),
    }


def decimal(micros: int) -> str:
    """Formats millionths as a decimal number, exactly."""
    sign = "-" if micros < 0 else ""
    units, rest = divmod(abs(micros), _MICRO)
    return f"{sign}{units}.{rest:06}"


def _date(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
