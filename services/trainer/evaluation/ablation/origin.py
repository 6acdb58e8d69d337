"""By what, when and on which machine a study was written: what a page must bear to be filed."""

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from shared.vision.engines.openvino import usable_cpus

LIBRARIES = {"openvino": "OpenVINO", "tensorflow": "TensorFlow", "scikit-learn": "scikit-learn", "numpy": "NumPy"}
"""That figures and times depend on, by the name they are installed under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Of a report."""

    written_at: datetime
    chipsieve: str
    cpus: int
    """That the process may use."""
    processor: str
    python: str
    libraries: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        """This version on this machine, now."""
        return cls(
            written_at=datetime.now(UTC),
            chipsieve=_version("chipsieve"),
            cpus=usable_cpus(),
            processor=_processor(),
            python=platform.python_version(),
            libraries={title: _version(package) for package, title in LIBRARIES.items()},
        )

    @property
    def machine(self) -> str:
        """One line."""
        libraries = ", ".join(f"{title} {found}" for title, found in self.libraries.items())
        return f"{self.cpus} cores of {self.processor}; Python {self.python}, {libraries}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "written_at": self.written_at.isoformat(timespec="seconds")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources alone
        return "of unknown version"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
