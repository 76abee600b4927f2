"""deploy/compose.yaml: it conforms to the Compose Specification, and what it mounts works."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support import prometheus
from tests.support.commands import until
from tests.support.containers import child_of, require_namespaces, wait_until_ready
from tests.support.image import on_this_machine
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, for_running, go_program, ran
from tokengrpc.config import Settings

if TYPE_CHECKING:
    from tests.support.containers import Container

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

FILE = ROOT / "deploy/compose.yaml"
API = "http://127.0.0.1:9095/api/v1/"
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
# Stores, each with a profile of its name.
STORES = ("postgres", "redis")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """All services, as Compose reads them: validated, with variables filled in."""
    program = go_program("composeconfig")
    environment = for_running(GRAFANA_PASSWORD="any", POSTGRES_PASSWORD="secret")
    return dict(json.loads(ran(program, FILE, folder=ROOT, environment=environment).stdout)["services"])


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Returns the files of the repository that a service sees, by their path in its container."""
    return {mount["target"]: Path(mount["source"]) for mount in service["volumes"] if mount["type"] == "bind"}


def test_services_are_hardened_pinned_and_local(services: dict[str, Any]) -> None:
    """Each has a read-only root, no rights, a pinned image unless it is built, and only local ports."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "build" in service or re.fullmatch(r".+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"])
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}
        assert all(path.exists() for path in mounts(service).values())


def test_stores_are_started_on_demand(services: dict[str, Any]) -> None:
    """By profile. The password of PostgreSQL is the one that the server uses."""
    assert {name: service.get("profiles") for name, service in services.items() if "profiles" in service} == {
        name: [name] for name in STORES
    }
    assert services["tokengrpc"]["environment"]["PGPASSWORD"] == "secret"
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "secret"


def test_compose_waits_for_the_drain(services: dict[str, Any]) -> None:
    """Before it kills the server."""
    assert int(services["tokengrpc"]["stop_grace_period"].removesuffix("s")) > Settings().limits.drain_time


def test_grafana_is_provisioned(services: dict[str, Any]) -> None:
    """Its data source is the service of Prometheus, and its dashboards are those of deploy/grafana."""
    seen = mounts(services["grafana"])
    folder = seen["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    (provider,) = yaml.safe_load((folder / "dashboards/tokengrpc.yaml").read_text())["providers"]
    assert list(seen[provider["options"]["path"]].glob("*.json"))


def fetched(container: Container, path: str) -> Any:
    """Returns the data of an answer of Prometheus' API; None while it does not answer."""
    done = container.execute("python3", "-c", FETCH, API + path)
    return json.loads(done.stdout)["data"] if done.returncode == 0 else None


def test_prometheus_reads_the_server_and_the_alerts(services: dict[str, Any], tmp_path: Path) -> None:
    """With the files and options of the compose file. Both programs are real, and share one container."""
    for program in ("prometheus", "promtool"):
        prometheus.require(program)
    require_namespaces()
    image = on_this_machine(tmp_path / "root")
    data, hosts = tmp_path / "data", tmp_path / "hosts"
    data.mkdir()
    os.chown(data, *map(int, image.config.user.split(":")))
    hosts.write_text(f"127.0.0.1 localhost {' '.join(services)}\n")
    volumes = [(str(source), target, True) for target, source in mounts(services["prometheus"]).items()]
    volumes += [(str(data), "/prometheus", False), (str(hosts), "/etc/hosts", True)]
    settings = dict(services["tokengrpc"]["environment"], TOKENGRPC_DATA_DIR="")
    with image.start(volumes=volumes, environment=settings) as container:
        wait_until_ready(container)
        checked = container.execute("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
        assert checked.returncode == 0, checked.stderr
        # The admin port of the server has the usual port of Prometheus.
        command = [*services["prometheus"]["command"], "--web.listen-address=127.0.0.1:9095"]
        process = container.executing("prometheus", *command)
        try:
            up = until(
                lambda: (fetched(container, "query?query=up") or {}).get("result"), "Prometheus scrapes"
            )
            rules = fetched(container, "rules")["groups"]
        finally:
            os.kill(child_of(process), signal.SIGKILL)
            sys.stderr.write(process.communicate()[1])  # pytest shows it if the test fails
    assert [(sample["metric"]["job"], sample["value"][1]) for sample in up] == [("tokengrpc", "1")]
    assert rules
