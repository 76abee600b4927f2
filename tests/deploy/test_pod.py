"""The rendered container runs on this machine, with its files and ports, and its probes tell the truth."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import PROGRAM, until
from tests.support.helm import CHART, built, container, rendered, settings_of
from tests.support.pods import pod
from tests.support.tls import Authority
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.helm import Manifest

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

SMALLEST = CHART / "ci/smallest-values.yaml"
PROBES = ("startup", "readiness", "liveness")
SLOW = 'config.models=[{"name":"builtin","pace":5}]'
"""Five tokens a second, so that a stream lasts until it is stopped."""


def volumes(found: list[Manifest], folder: Path) -> dict[str, Path]:
    """Writes the settings as the kubelet does."""
    config = folder / "config"
    config.mkdir()
    (config / "tokengrpc.toml").write_text(settings_of(found))
    return {"config": config}


def rendered_by(program: str) -> list[Manifest]:
    return rendered(SMALLEST) if program == "helm" else built("overlays/mesh")


@pytest.mark.parametrize("program", ["helm", "kustomize"])
def test_the_rendered_container_serves(program: str, tmp_path: Path):
    """All probes succeed, a caller gets tokens by the pod of `helm test`, and metrics are served."""
    found = rendered_by(program)
    with pod(container(found), volumes(found, tmp_path)) as server:
        server.started()
        assert [server.probe(name) for name in PROBES] == [0, 0, 0]
        done = server.inside(*PROGRAM, "stream", "hello", "--max-tokens", "3", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])
        assert "tokengrpc_generations 0.0" in server.page("/metrics")


def test_the_pod_of_helm_test_tells_whether_it_serves(tmp_path: Path):
    """Its arguments, with the name of the service replaced by the pod's address."""
    found = rendered(SMALLEST)
    (test,) = next(o for o in found if o["kind"] == "Pod")["spec"]["containers"]
    (target,) = [argument for argument in test["args"] if argument.startswith("--target=")]
    assert target == "--target=demo-tokengrpc.llm.svc:50051"
    arguments = [argument.replace("demo-tokengrpc.llm.svc", "127.0.0.1") for argument in test["args"]]
    with pod(container(found), volumes(found, tmp_path)) as server:
        assert server.started().inside(*PROGRAM, *arguments).returncode == 0


@pytest.mark.parametrize("mode", ["server", "mutual"])
def test_a_container_with_tls_serves(mode: str, tmp_path: Path):
    """The probes need neither certificates nor keys, callers do, and it starts without consent."""
    authority = Authority(tmp_path)
    secrets = {name: tmp_path / name for name in ("tls", "client-ca", "secret-keys")}
    for folder in secrets.values():
        folder.mkdir()
    pair = authority.issue("tls", "localhost", "127.0.0.1", folder=secrets["tls"])
    shutil.copy(authority.file, secrets["client-ca"])
    (secrets["secret-keys"] / "search").write_text("the key of search")
    tls = f'tls={{"mode":"{mode}","secretName":"a","clientCASecretName":"b"}}'
    keys = 'config.tenants=[{"name":"search","key_file":"/run/tokengrpc/secrets/keys/search"}]'
    found = rendered(SMALLEST, "insecure=false", tls, keys, 'secretFiles={"keys":"c"}')
    mounts = {mount["name"] for mount in container(found)["volumeMounts"]}
    assert mounts - {*secrets} == {"config", "data", "tmp"}
    mounted = volumes(found, tmp_path) | secrets
    own = ["--cert-file", pair.cert_file, "--key-file", pair.key_file] if mode == "mutual" else []
    with pod(container(found), mounted) as server:
        assert [server.started().probe(name) for name in PROBES] == [0, 0, 0]
        models = (*PROGRAM, "models", "--ca-file", authority.file)
        done = server.inside(*models, *own, TOKENGRPC_TOKEN="the key of search")
        assert done.returncode == 0, done.stderr
        assert server.inside(*models, *own, TOKENGRPC_TOKEN="another").returncode != 0
        if own:
            assert server.inside(*models, TOKENGRPC_TOKEN="the key of search").returncode != 0


def test_a_pod_that_drains_is_alive_but_not_ready(tmp_path: Path):
    """After SIGTERM its stream goes on, and readiness alone fails; a second signal ends the drain."""
    found = rendered(SMALLEST, SLOW)
    with (
        pod(container(found), volumes(found, tmp_path)) as server,
        server.started().running("stream", "hello", "--max-tokens", "500") as reader,
    ):
        assert reader.stdout is not None
        assert reader.stdout.read(1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.probe("readiness") != 0, "not ready")
        assert server.probe("liveness") == 0
        assert server.process.poll() is None
        assert reader.stdout.read(1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0, server.log()
