"""The peers' own Python environment: made once from its own lock file, never mixed with ours."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ChipsieveError
from shared.own_process import last_words

LOCK = Path(__file__).parents[2] / "requirements" / "peers.lock"
PROGRAM = Path(__file__).with_name("anomalib_program.py")
MADE = ".made"
DOWNLOAD_SECONDS = "300"  # of patience with a slow mirror: torch alone is 800 MB


class PeerFailed(ChipsieveError):
    """The peers' environment could not be made, or a peer did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The environment, ready to run."""

    python: Path

    @classmethod
    def make(cls, cache: Path, lock: Path = LOCK) -> "Peers":
        """The environment of this lock file below `cache`; installed where it is not there yet (6 GB, most of it CUDA).

        Raises:
            PeerFailed: the packages cannot be installed.
        """
        folder = cache / "peers" / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
        python = folder / "bin" / "python"
        if not (folder / MADE).exists():
            uv = str(Path(sys.executable).with_name("uv"))
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            _run([uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock)])
            (folder / MADE).touch()
        return cls(python)

    def run(self, job: str, pictures: Sequence[Path], **options: object) -> dict[str, Any]:
        """What a job of `anomalib_program` reports.

        Args:
            job: its name.
            pictures: that it works on.
            options: the rest of its command line.

        Raises:
            PeerFailed: it ended with an error, or said nothing.
        """
        with tempfile.TemporaryDirectory(prefix="chipsieve-peers-") as work:
            names = Path(work) / "pictures.txt"
            names.write_text("\n".join(str(path.resolve()) for path in pictures), encoding="utf-8")
            command = [str(self.python), str(PROGRAM), job, "--pictures", str(names)]
            for name, value in options.items():
                command += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
            # anomalib keeps compiled graphs in the folder it runs in.
            said = _run(command, cwd=Path(work)).splitlines()
        if not said:
            raise PeerFailed(f"the peers' {job} reported nothing: run {' '.join(command)} to see why")
        return dict(json.loads(said[-1]))


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    """Standard output of a command."""
    # Nothing of ours may be imported there.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment.setdefault("UV_HTTP_TIMEOUT", DOWNLOAD_SECONDS)
    try:
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PeerFailed(f"{command[0]} cannot be started: {error}; run `make install`") from error
    if done.returncode != 0:
        raise PeerFailed(f"{' '.join(command[:4])} … failed: {last_words(done.stderr, done.returncode)}")
    return done.stdout
