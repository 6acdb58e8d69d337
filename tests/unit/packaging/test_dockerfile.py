"""The Dockerfile and the lock files it installs from."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from shared.settings import AdminSettings
from shared.stream.admin import AdminServer
from shared.stream.vitals import Vitals

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGES = ["gateway", "extractor", "extractor-gpu", "matcher", "router", "cli"]
EXTRAS = {name: [name] for name in (*IMAGES, "trainer")} | {"extractor-gpu": ["extractor", "gpu"]}
TENSORFLOW = {"tensorflow", "keras", "h5py", "tensorboard"}


def locked(name: str) -> dict[str, str]:
    """Package → version of one lock file."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return {
        found["name"]: found["version"] for found in re.finditer(r"^(?P<name>[\w.-]+)==(?P<version>\S+)", text, re.M)
    }


def required(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for, extras of our own resolved."""
    found = []
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == PROJECT["name"]:
            found += [inner for name in requirement.extras for inner in required(name)]
        else:
            found.append(requirement)
    return found


def stage(name: str) -> str:
    """The text of one build stage."""
    return next(part for part in re.split(r"^(?=FROM )", DOCKERFILE, flags=re.M) if f" AS {name}\n" in part)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(hadolint), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_foreign_base_images_have_a_tag() -> None:
    own = set(re.findall(r" AS (\S+)", DOCKERFILE))
    foreign = [image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) if image not in own]
    assert foreign
    assert all(re.fullmatch(r"python:3\.11-slim-\w+", image) for image in foreign)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_in_particular_from_its_own_lock(image: str) -> None:
    assert stage(image).startswith("FROM shared AS")
    assert stage("shared").startswith("FROM runtime AS")
    assert "USER 10001:10001" in stage("runtime")
    assert re.findall(r"^USER .*$", DOCKERFILE, re.M) == ["USER 10001:10001"]
    assert f"COPY --from={image}-packages /opt/venv /opt/venv" in stage(image)
    assert f"requirements/{image}.lock" in stage(f"{image}-packages")
    assert "--require-hashes" in stage(f"{image}-packages")


@pytest.mark.parametrize("image", ["matcher", "router", "gateway"])
def test_only_what_extracts_or_trains_carries_tensorflow(image: str) -> None:
    assert not TENSORFLOW & set(locked(image))


@pytest.mark.parametrize("image", ["router", "gateway"])
def test_who_neither_extracts_nor_matches_carries_no_openvino(image: str) -> None:
    assert "openvino" not in locked(image)


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_what_the_project_asks_for(name: str) -> None:
    asked = [*map(Requirement, PROJECT["dependencies"]), *(one for extra in EXTRAS[name] for one in required(extra))]
    pins = locked(name)
    for requirement in asked:
        assert requirement.specifier.contains(pins[requirement.name.lower()]), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_shipped_is_what_was_tested(name: str) -> None:
    tested = locked("dev")
    assert {package: pin for package, pin in locked(name).items() if tested.get(package, pin) != pin} == {}


@pytest.mark.parametrize("name", [*EXTRAS, "dev", "uv"])
def test_a_lock_has_a_hash_for_every_package_and_names_no_server(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    for block in re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]:
        assert "--hash=sha256:" in block, block


def test_the_command_line_knows_its_version_in_its_image(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    written = re.search(r"^RUN (version=(?:.*\\\n)+.*)$", stage("cli-packages"), re.M)
    assert written, "reports and --version end with a traceback where the package has no metadata"
    command = ["sh", "-c", written[1].replace("/opt/venv", str(tmp_path))]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=ROOT, env={"PATH": path}, check=False)
    assert done.returncode == 0
    (found,) = Distribution.discover(name="chipsieve", path=[str(tmp_path / "lib/python3.11/site-packages")])
    assert found.version == PROJECT["version"]


@pytest.mark.parametrize("proxy", [{}, {"http_proxy": "http://127.0.0.1:1"}])
def test_a_service_that_is_alive_is_healthy_whatever_proxy_its_container_has(proxy: dict[str, str]) -> None:
    vitals = Vitals(lambda: None)
    server = AdminServer(AdminSettings(), vitals, "toy")
    server.start()
    try:
        (asked,) = re.findall(r"^HEALTHCHECK .* CMD (.*)$", DOCKERFILE.replace("\\\n", ""), re.M)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/bin:/usr/bin",
            "CHIPSIEVE_ADMIN__PORT": str(server.port),
            **proxy,
        }
        assert subprocess.run(json.loads(asked), env=environment, check=False).returncode == 0
    finally:
        server.close()


def test_the_build_context_holds_what_is_copied_and_little_else() -> None:
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.M)
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(Path(path).match(pattern) or path.startswith(f"{pattern}/") for pattern in let_through), path
