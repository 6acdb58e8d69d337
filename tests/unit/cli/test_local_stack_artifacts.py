"""The cache of programs, filled by a Maven that only pretends."""

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.cli.local_stack import artifacts
from services.cli.local_stack.errors import ArtifactsUnavailable

Pretend = Callable[[str], None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHIPSIEVE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Put a script in Maven's place; `$output` is where it is told to copy to."""

    def pretend(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "mvn").write_text(f'#!/bin/bash\nfor last; do :; done\noutput="${{last#-Doutput=}}"\n{script}\n')
        (folder / "mvn").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return pretend


def calls(tmp_path: Path) -> int:
    return len((tmp_path / "calls").read_text().splitlines())


def test_a_missing_maven_is_named_with_the_remedy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ArtifactsUnavailable, match=r"mvn is not on the PATH.*apt-get install maven"):
        artifacts.fetch()


def test_a_download_that_hangs_is_given_up_and_named(
    cache: Path, maven: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "DOWNLOAD_S", 0.1)
    maven("exec sleep 60")
    with pytest.raises(ArtifactsUnavailable, match=r"mvn had not fetched the local stack after 0 s: check the network"):
        artifacts.fetch()


def test_a_filled_cache_needs_no_maven(
    cache: Path, maven: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maven(f'echo >> {tmp_path}/calls; mkdir -p "$output"/kafka "$output"/registry')
    found = artifacts.fetch()
    assert found.kafka.is_dir()
    assert found.class_data.is_file()
    assert found.valkey.is_file()
    monkeypatch.setenv("PATH", "/nowhere")
    assert artifacts.fetch() == found


def test_parallel_fetches_download_once(cache: Path, maven: Pretend, tmp_path: Path) -> None:
    maven(f'echo >> {tmp_path}/calls; mkdir -p "$output"/kafka; sleep 0.2')
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: artifacts.fetch(), range(4)))
    assert len(set(found)) == 1
    assert calls(tmp_path) == 1


def test_a_failed_download_is_reported_and_leaves_nothing(cache: Path, maven: Pretend) -> None:
    maven('mkdir -p "$output"/kafka; echo "Could not resolve kafka_2.13"; exit 1')
    with pytest.raises(ArtifactsUnavailable, match=r"Could not resolve kafka_2\.13"):
        artifacts.fetch()
    assert [path.name for path in cache.iterdir()] == ["local-stack.lock"]


def test_an_interrupted_download_is_discarded_and_done_anew(cache: Path, maven: Pretend, tmp_path: Path) -> None:
    maven(f'mkdir -p "$output"/kafka; if [ ! -e {tmp_path}/calls ]; then touch {tmp_path}/calls; kill -9 $PPID; fi')
    fetching = "from services.cli.local_stack import artifacts; artifacts.fetch()"
    killed = subprocess.run([sys.executable, "-c", fetching], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(cache.glob("unfinished-*"))
    assert artifacts.fetch().kafka.is_dir()
    assert not list(cache.glob("unfinished-*"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHIPSIEVE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ArtifactsUnavailable, match=rf"{tmp_path}/file/cache cannot be written.*CHIPSIEVE_CACHE_DIR"):
        artifacts.fetch()
