"""The Maven artefacts: a project outside the checkout depends on them and streams from a real server."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import pytest

from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, JAVA, for_building, ran, require
from tests.support.versions import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

ARTEFACTS: Final = ("tokenstreaming-v1", "tokengrpc-client")
MAVEN: Final = {"": "http://maven.apache.org/POM/4.0.0"}
# What Maven Central requires of each POM, its own or its parent's.
REQUIRED: Final = (
    "name",
    "description",
    "url",
    "licenses/license/name",
    "developers/developer/name",
    "scm/connection",
    "scm/url",
)
POM: Final = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>app</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories>
    <repository>
      <id>tokengrpc</id>
      <url>file://{tree}</url>
    </repository>
  </repositories>
  <dependencies>
    <dependency>
      <groupId>io.tokengrpc</groupId>
      <artifactId>tokengrpc-client</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
  <build>
    <pluginManagement>
      <plugins>
        <plugin>
          <artifactId>maven-compiler-plugin</artifactId>
          <version>3.14.1</version>
        </plugin>
      </plugins>
    </pluginManagement>
  </build>
</project>
"""
# Copies all that the project depends on to target/dependency.
LIBRARIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
PROMPT: Final = "What is token streaming?"
V1: Final = "io.tokengrpc.tokenstreaming.v1"
OPTIONS: Final = "io.tokengrpc.client.StreamOptions.DEFAULT"
# A request whose answer is always the same.
GREEDY: Final = (
    f'{V1}.StreamTokensRequest.newBuilder().setPrompt("{PROMPT}")'
    f".setSampling({V1}.Sampling.newBuilder().setTemperature(0)).build(), {OPTIONS}"
)


@pytest.fixture(scope="module")
def tree(dist: Callable[[str], Path]) -> Path:
    require(JAVA)
    return dist("java") / "java"


def cache_without_ours(folder: Path) -> Path:
    """Makes a local repository with the third-party artefacts of the usual one, but none of ours."""
    usual = Path.home() / ".m2/repository"
    (folder / "io").mkdir(parents=True)
    shared = [*usual.glob("*"), *usual.glob("io/*")] if usual.is_dir() else []
    for path in shared:
        if path.relative_to(usual) not in {Path("io"), Path("io/tokengrpc")}:
            (folder / path.relative_to(usual)).symlink_to(path)
    return folder


def write_programs(folder: Path, target: str) -> None:
    """Writes the programs of the client's README, for another server and a request without chance."""
    readme = (ROOT / "clients/java/README.md").read_text(encoding="utf-8")
    for program, name in re.findall(r"```java\n(import .*?public class (\w+) .*?)```", readme, re.DOTALL):
        text = program.replace("127.0.0.1:50051", target).replace(
            f'client.stream("{PROMPT}")', f"client.stream({GREEDY})"
        )
        (folder / f"{name}.java").write_text(text, encoding="utf-8")


def java(program: str, *, folder: Path) -> str:
    """Runs a program of the project. Returns its output."""
    classes = os.pathsep.join(["target/classes", "target/dependency/*"])
    done = ran("java", "-cp", classes, program, folder=folder)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.timeout(2 * BUILD_TIMEOUT)
def test_a_project_depends_on_the_artefacts(tree: Path, tmp_path: Path) -> None:
    """Maven takes them from the tree, and everything else from where it usually comes from.

    The README's first program writes the answer; the second one leaves and resumes it.
    """
    folder = tmp_path / "app"
    sources = folder / "src/main/java"
    sources.mkdir(parents=True)
    (folder / "pom.xml").write_text(POM.format(tree=tree, version=VERSION), encoding="utf-8")
    cache = cache_without_ours(tmp_path / "cache")
    with serving("--pace", "200") as server:
        write_programs(sources, server.target)
        compiled = ("mvn", "-q", "-B", f"-Dmaven.repo.local={cache}", "compile", LIBRARIES)
        ran(*compiled, folder=folder, environment=for_building(), timeout=BUILD_TIMEOUT)
        assert re.search(r"\n(END|MAX_TOKENS), \d+ tokens\n$", java("App", folder=folder))
        handed_over = java("Detach", folder=folder)
        answer = server("stream", PROMPT, "--temperature", "0").stdout
    assert handed_over.split() == answer.split()


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_an_artefact_has_what_a_central_repository_requires(tree: Path, artefact: str) -> None:
    """Sources, javadoc, checksums, and complete metadata in its POM or that of its parent."""
    folder = tree / "io/tokengrpc" / artefact / VERSION
    names = {path.name for path in folder.iterdir()}
    for suffix in (".jar", "-sources.jar", "-javadoc.jar", ".pom"):
        name = f"{artefact}-{VERSION}{suffix}"
        assert {name, f"{name}.md5", f"{name}.sha1"} <= names
    poms = [folder / f"{artefact}-{VERSION}.pom", *tree.glob(f"io/tokengrpc/tokengrpc-java/{VERSION}/*.pom")]
    projects = [ET.parse(path).getroot() for path in poms]
    assert len(projects) == 2
    for field in REQUIRED:
        assert any(project.findtext(field, "", MAVEN) for project in projects), field
