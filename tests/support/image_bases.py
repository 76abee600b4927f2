"""The base images of deploy/Containerfile, put together from the packages of Debian that they consist of."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.containers import Spec
from tests.support.machine_network import environment, volumes
from tests.support.paths import DATA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RELEASE: Final = "trixie"
BUILDER: Final = "docker.io/library/debian:13-slim"
RUNTIME: Final = "gcr.io/distroless/python3-debian13:nonroot"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the images set.
ENVIRONMENTS: Final = {
    BUILDER: {"PATH": _PATH},
    RUNTIME: {"PATH": _PATH, "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", "LANG": "C.UTF-8"},
}
_PACKAGES: Final = (DATA / "image_packages.txt").read_text(encoding="utf-8").split()
_USER: Final = 65532
_PASSWD: Final = (
    "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
)


def _sources() -> list[str]:
    """Returns lines for apt, with the mirrors that this machine uses."""
    listed = ["apt-get", "indextargets", "--format", "$(SITE)"]
    sites = set(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split())
    lines = []
    for site in sorted(sites):
        if site.rstrip("/").endswith("-security"):
            lines.append(f"deb {site} {RELEASE}-security main")
        elif site.rstrip("/").endswith("/debian"):
            lines += [f"deb {site} {RELEASE} main", f"deb {site} {RELEASE}-updates main"]
    return lines


def make_builder(folder: Path, bases: Path) -> None:
    """Debian 13 with apt."""
    if shutil.which("mmdebstrap") is None:
        pytest.fail("mmdebstrap is not installed: apt-get install mmdebstrap")
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", RELEASE, folder, *_sources()], check=True)


def make_runtime(folder: Path, bases: Path) -> None:
    """Python and the libraries that it needs: no shell, no apt, no pip.

    The packages are those of the image's own definition: of static, base, cc and python3, in this order.
    """
    debian = base(BUILDER, bases)
    packages = bases / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    update = f"apt-get update && cd /packages && apt-get download ca-certificates {' '.join(_PACKAGES)}"
    in_debian = Spec(
        root=debian,
        command=["sh", "-c", update],
        environment=ENVIRONMENTS[BUILDER] | environment(),
        volumes=[*volumes(), (str(packages), "/packages", False)],
        read_only=False,
        offline=False,
    )
    assert in_debian.start().wait() == 0
    folder.mkdir()
    authorities = next(packages.glob("ca-certificates_*.deb"))
    for package in sorted(packages.glob("*.deb")):
        if package != authorities:
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    extracted = bases / "authorities"
    subprocess.run(["dpkg-deb", "--extract", authorities, extracted], check=True)
    certificates = sorted(extracted.glob("usr/share/ca-certificates/mozilla/*.crt"))
    bundle = folder / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))
    (folder / "etc/passwd").write_text(_PASSWD)
    home = folder / "home/nonroot"
    home.mkdir(parents=True, mode=0o700)
    os.chown(home, _USER, _USER)
    for name in ("python", "python3"):
        (folder / "usr/bin" / name).symlink_to("python3.13")
    subprocess.run(["ldconfig", "-r", folder], check=True)


_MAKERS: Final[dict[str, Callable[[Path, Path], None]]] = {BUILDER: make_builder, RUNTIME: make_runtime}


def base(image: str, bases: Path) -> Path:
    """Returns the root of a base image below `bases`, where it is kept. A digest is ignored."""
    name = image.partition("@")[0]
    folder = bases / name.replace("/", "+")
    if not folder.exists():
        bases.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _MAKERS[name](unfinished, bases)
        unfinished.rename(folder)
    return folder
