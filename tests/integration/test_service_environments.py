"""What the Dockerfile builds, built without a container engine: each target's own packages, files and command.

A fresh virtual environment from the target's lock file and a folder with what its stage copies stand in for the image.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest

from services.cli.local_stack import ports
from shared.bank.store import BankStore
from shared.settings import RedisSettings, Settings
from shared.topics import Topics
from tests.banks import make

ROOT = Path(__file__).parents[2]
STAGES = {
    found["name"]: found["text"]
    for found in re.finditer(
        r"^FROM (?P<base>\S+) AS (?P<name>\S+)\n(?P<text>.*?)(?=^FROM |\Z)",
        (ROOT / "Dockerfile").read_text(),
        re.M | re.S,
    )
}
READY_S = 120.0  # the extractor compiles its engine when the cache lacks it
DRAIN_S = 30.0  # as docker-compose.yml grants
BANKS_DATABASE = 2  # of the tests' Valkey, and of these tests alone
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Image:
    """What would be in the image: files, packages and the command that starts it."""

    files: Path
    command: list[str]


def build(target: str, where: Path) -> Image:
    """Carry out the COPY lines and the package installation of one target."""
    files = where / "app"
    for stage in ("shared", target):
        for source, destination in re.findall(r"^COPY (?!--)(\S+) (\S+)$", STAGES[stage], re.M):
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, files / destination, dirs_exist_ok=True)
            else:
                (files / destination).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, files / destination)
    packages = where / "venv"
    lock = ROOT / "requirements" / f"{target}.lock"
    assert f"COPY requirements/{lock.name} ." in STAGES[f"{target}-packages"]
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, packages], check=True)
    sync = [UV, "pip", "sync", "--quiet", "--require-hashes", "--python", packages / "bin" / "python", lock]
    # The development environment has the same packages, so the cache usually has all; a pruned cache needs the network.
    if subprocess.run([*sync, "--offline"], check=False, capture_output=True).returncode:
        subprocess.run(sync, check=True)
    words = [
        word
        for kind in ("ENTRYPOINT", "CMD")
        for words in re.findall(rf"^{kind} (\[.*\])$", STAGES[target], re.M)
        for word in json.loads(words)
    ]
    assert words[0] == "python"
    return Image(files, [str(packages / "bin" / "python"), *words[1:]])


def environment(**more: str) -> dict[str, str]:
    """What a container would have: Chipsieve's own variables, and nothing of this environment's packages."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("CHIPSIEVE_")}
    return {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], **ours, **more}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def image_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    """Images by target, each built once."""
    return cache(lambda target: build(target, tmp_path_factory.mktemp(target)))


@pytest.mark.parametrize("service", ["gateway", "extractor", "matcher", "router"])
def test_a_service_runs_and_drains_with_only_its_own_packages(
    service: str, image_of: Callable[[str], Image], topics: Topics, tmp_path: Path
) -> None:
    image = image_of(service)
    # Without any bank neither extractor nor matcher would be ready.
    banks = f"{Settings().redis.url.removesuffix('/0')}/{BANKS_DATABASE}"
    store = BankStore(RedisSettings(url=banks))
    store.publish(make())
    store.close()
    port = ports.choose({"admin": None}, {})["admin"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            image.command,
            cwd=image.files,
            env=environment(CHIPSIEVE_ADMIN__PORT=str(port), CHIPSIEVE_GATEWAY__PORT="0", CHIPSIEVE_REDIS__URL=banks),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + READY_S
        for question in ("healthz", "readyz", "metrics"):
            while not answers(f"http://127.0.0.1:{port}/{question}"):
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"/{question} does not answer:\n{log.read_text()}"
                time.sleep(0.05)
        # Half a gigabyte a process, for a library that only training and the conversion of a model need.
        mapped = [area.path for area in psutil.Process(running.pid).memory_maps()]
        assert not [path for path in mapped if "/tensorflow/python/" in path]
        running.send_signal(signal.SIGTERM)
        assert running.wait(DRAIN_S) == 0, log.read_text()
    finally:
        running.kill()
        running.wait()


def test_the_command_line_starts_with_only_its_own_packages(image_of: Callable[[str], Image]) -> None:
    image = image_of("cli")
    done = subprocess.run(
        image.command, cwd=image.files, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_the_extractor_converts_its_model_with_only_its_own_packages(
    image_of: Callable[[str], Image], tmp_path: Path
) -> None:
    image = image_of("extractor")
    extract = (
        "import numpy as np; from shared.vision.engines.loading import load_engine;"
        "from shared.vision.recipe import Layer, Recipe;"
        "engine = load_engine('openvino', Recipe(layers=(Layer(tap='b12'),)), threads=1);"
        "print(*engine.features(np.zeros((1, 256, 256, 3), np.uint8), 256))"
    )
    done = subprocess.run(
        [image.command[0], "-c", extract],
        cwd=image.files,
        env=environment(CHIPSIEVE_CACHE_DIR=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["b12@256/3"]
