"""Limits on concurrent generations of tenants and their models."""

from __future__ import annotations

import pytest

from tokengrpc.core.admission import Admission
from tokengrpc.core.tenant import Rates, Tenant
from tokengrpc.errors import QuotaExceeded


def test_a_model_has_a_limit_of_its_own():
    """It holds beside that of the tenant, and other models and tenants do not count."""
    admission = Admission(100)
    tenant = Tenant(name="a", max_generations=3, model_rates=(("m", Rates(max_generations=2)),))
    permits = [_admit(admission, tenant, "m") for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="2 running generations of model m") as caught:
        _admit(admission, tenant, "m")
    assert str(caught.value.limit) == "max_generations of model m"
    _admit(admission, Tenant(name="b"), "m")
    permits.append(_admit(admission, tenant, "n"))
    with pytest.raises(QuotaExceeded, match="3 running generations,") as caught:
        _admit(admission, tenant, "n")
    assert str(caught.value.limit) == "max_generations"
    for permit in permits:
        permit.release()
        permit.release()
    for _ in range(2):
        _admit(admission, tenant, "m")


def test_a_lowered_limit_refuses_only_new_generations():
    """Those that run keep their places until they end."""
    admission = Admission(100)
    permits = [_admit(admission, Tenant(name="a", max_generations=5), "m") for _ in range(5)]
    lowered = Tenant(name="a", max_generations=2)
    for permit in permits[:4]:
        with pytest.raises(QuotaExceeded):
            admission.check(lowered, "m")
        permit.release()
    _admit(admission, lowered, "m")
    assert admission.active == 2


def _admit(admission, tenant, model):
    admission.check(tenant, model)
    return admission.admit(tenant, model)
