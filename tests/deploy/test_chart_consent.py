"""The chart asks for consent exactly where the server does."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.helm import CHART, rendered, settings_of, template
from tests.support.toolchains import BUILD_TIMEOUT
from tokengrpc.config import ConfigError, load
from tokengrpc.rpc.exposure import check_exposure

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

SMALLEST = CHART / "ci/smallest-values.yaml"
MODES = ("none", "server", "mutual")
CALLERS = {
    "anybody": [],
    "tenants": ['config.tenants=[{"name":"a","key_env":"A"}]'],
    "an authenticator": ['config.authenticator="ours"'],
}


@pytest.mark.parametrize(("mode", "callers"), [*product(MODES, CALLERS)])
def test_the_chart_and_the_server_agree(mode: str, callers: str, tmp_path: Path):
    """Without `insecure`, the chart refuses what the server refuses at its start, and nothing else."""
    tls = f'tls={{"mode":"{mode}","secretName":"a","clientCASecretName":"b"}}'
    settings = (tls, *CALLERS[callers])
    refused = template(SMALLEST, "insecure=false", *settings)
    text = settings_of(rendered(SMALLEST, *settings))
    assert text.count("insecure = true\n") == 1
    file = tmp_path / "tokengrpc.toml"
    file.write_text(text.replace("insecure = true\n", ""))
    loaded = load(file, {}, {})
    expected = pytest.raises(ConfigError, match="--insecure") if refused.returncode else nullcontext()
    with expected:
        check_exposure(loaded, has_authenticator=False)
    assert bool(refused.returncode) is ("insecure: the serving port" in refused.stderr)
