"""The chart refuses values that are wrong or do not fit together, before anything is installed."""

from __future__ import annotations

import pytest

from tests.support.helm import CHART, container, rendered, template, the
from tests.support.toolchains import BUILD_TIMEOUT

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

SMALLEST = CHART / "ci/smallest-values.yaml"


WRONG = {
    "replicas=3": "additional properties 'replicas' not allowed",
    "image.repositroy=1": "additional properties 'repositroy' not allowed",
    "config.limits.drain_tiem=3": "at '/config/limits': additional properties 'drain_tiem' not allowed",
    'config.limits.max_generations="many"': "at '/config/limits/max_generations': got string, want integer",
    "config.limits.max_generations=2.5": "at '/config/limits/max_generations': got number, want integer",
    "config.limits.drain_time=-1": "at '/config/limits/drain_time': minimum",
    'config.listen="0.0.0.0:1"': "at '/config': additional properties 'listen' not allowed",
    'config.models=[{"name":"a","base_ulr":"x"}]': "at '/config/models/0': additional properties 'base_ulr'",
    'config.models=[{"name":"a","kind":"vllm","base_ulr":"x"}]': "'/config/models/0': additional properties",
    "config.models=[]": "at '/config/models': minItems",
    'config.tenants=[{"key_env":"A"}]': "at '/config/tenants/0': missing property 'name'",
    'tls.mode="on"': "at '/tls/mode': value must be one of 'none', 'server', 'mutual'",
    'image.digest="sha256:1"': "at '/image/digest'",
    'secretEnv={"A-B":{"name":"x","key":"y"}}': "at '/secretEnv': additional properties 'A-B' not allowed",
    'secretEnv={"A":{"name":"x"}}': "at '/secretEnv/A': missing property 'key'",
    'route.kind="TCPRoute"': "at '/route/kind': value must be one of 'GRPCRoute', 'HTTPRoute'",
    'autoscaling.kind="vpa"': "at '/autoscaling/kind': value must be one of 'hpa', 'keda'",
    'service.type="ExternalName"': "at '/service/type'",
}
"""Values that the schema refuses, and what it says."""

UNFIT = {
    ('image.repository=""',): "image.repository: required",
    ("insecure=false",): "insecure: the serving port would be plaintext, and without authentication;",
    ("insecure=false", 'config.tenants=[{"name":"a","key_env":"A"}]'): "would be plaintext, so that keys",
    ("insecure=false", 'tls={"mode":"server","secretName":"a"}'): "would be without authentication,",
    ('tls.mode="server"',): "tls.secretName: required with tls.mode server",
    ('tls={"mode":"mutual","secretName":"a"}',): "tls.clientCASecretName: required",
    ("istio.enabled=true", 'tls={"mode":"server","secretName":"a"}'): "istio.enabled: needs tls.mode none",
    ("istio.enabled=true", 'istio.gateways=["a/b"]'): "istio.hosts: required",
    ("route.enabled=true",): "route.parentRefs: required",
    ("envoyGateway.enabled=true",): "envoyGateway.enabled: needs route.enabled",
    ("ingress.enabled=true",): "ingress.hosts: required",
    ("autoscaling.enabled=true", "autoscaling.minReplicas=20"): "autoscaling.minReplicas: must be at most",
    ("terminationGracePeriodSeconds=30",): "terminationGracePeriodSeconds: 30 is too short",
}
"""Values that do not fit together, and what the chart says."""


@pytest.mark.parametrize(("setting", "said"), WRONG.items())
def test_the_schema_refuses_wrong_values(setting: str, said: str):
    """It names the value and what is allowed."""
    done = template(SMALLEST, setting)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(("settings", "said"), UNFIT.items())
def test_values_that_do_not_fit_are_refused(settings: tuple[str, ...], said: str):
    """In one line that says what to do."""
    done = template(SMALLEST, *settings)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line


def test_models_of_a_plugin_may_have_any_setting():
    """The chart cannot know the plugin."""
    rendered(SMALLEST, 'config.models=[{"name":"a","kind":"ours","own":{"depth":3}}]')


SECURE = {
    "mutual TLS": ['tls={"mode":"mutual","secretName":"a","clientCASecretName":"b"}'],
    "TLS and keys": ['tls={"mode":"server","secretName":"a"}', 'config.tenants=[{"name":"a","key_env":"A"}]'],
    "TLS and an authenticator": ['tls={"mode":"server","secretName":"a"}', 'config.authenticator="ours"'],
}


@pytest.mark.parametrize("settings", SECURE.values(), ids=SECURE)
def test_what_is_secure_needs_no_consent(settings: list[str]):
    """And the settings do not give it."""
    assert "insecure" not in str(rendered(SMALLEST, "insecure=false", *settings))


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ([], 5 + 60 + 10),
        (["config.limits.drain_time=120"], 5 + 120 + 10),
        (["config.limits.drain_time=0.5"], 5 + 1 + 10),
        (["config.limits=null"], 5 + 30 + 10),
        (["preStopSeconds=0"], 60 + 10),
        (['config.store="redis://r"'], 5 + 3 + 60 + 10),
        (['config.store="redis://r"', "config.limits.withdrawal_time=1.5"], 5 + 62 + 10),
        (["preStopSeconds=15", "config.limits.drain_time=20"], 15 + 20 + 10),
        (["terminationGracePeriodSeconds=75"], 75),
        (["terminationGracePeriodSeconds=600"], 600),
    ],
)
def test_the_grace_period_contains_prestop_and_drain(settings: list[str], seconds: int):
    """By default it is their sum and a margin; a longer one may be set. No preStop is rendered for 0 s."""
    found = rendered(SMALLEST, *settings)
    assert the(found, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds
    assert ("lifecycle" in container(found)) is ("preStopSeconds=0" not in settings)
