"""A Kubernetes control plane, nodes that are made believe, and KEDA, built from their Go modules, once.

    python -m tests.k8s.binaries         prints the folder that they are in

Nothing is downloaded but Go modules. Each program is built under a go.mod of our own that takes over its module's
requirements, so that it is built with the versions that its makers chose. It takes about 15 minutes of two cores; then
they lie in the cache, which is found by the versions.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

KUBERNETES = "1.34.3"
ETCD = "3.6.13"
KWOK = "0.7.0"
KEDA = "2.21.0"


@dataclass(frozen=True, slots=True)
class Program:
    """What is built of a module."""

    module: str
    version: str
    packages: dict[str, str]
    """By the name of the binary."""
    replaced: tuple[tuple[str, str], ...] = ()
    """Substitutions in its go.mod: what it replaces by folders beside it, which a module does not have."""


PROGRAMS = (
    Program(
        "k8s.io/kubernetes",
        f"v{KUBERNETES}",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        },
        ((r"=> \./staging/src/(k8s\.io/\S+)", rf"=> \1 v0.{KUBERNETES.partition('.')[2]}"),),
    ),
    Program(
        "go.etcd.io/etcd/server/v3",
        f"v{ETCD}",
        {"etcd": "go.etcd.io/etcd/server/v3"},
        ((r"(?m)^.*=> (\.\./|\./FORBIDDEN).*\n", ""),),
    ),
    Program("sigs.k8s.io/kwok", f"v{KWOK}", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Program(
        "github.com/kedacore/keda/v2",
        f"v{KEDA}",
        {
            "keda-operator": "github.com/kedacore/keda/v2/cmd/operator",
            "keda-adapter": "github.com/kedacore/keda/v2/cmd/adapter",
        },
    ),
)


def binaries() -> Path:
    """The folder with all programs, after they were built if need be."""
    cache = Path(os.environ.get("CHIPSIEVE_CACHE_DIR") or Path.home() / ".cache" / "chipsieve")
    folder = cache / f"kubernetes-{hashlib.sha256(repr(PROGRAMS).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        if missing := {name: package for name, package in program.packages.items() if not (folder / name).exists()}:
            _build(program, missing, folder)
    return folder


def _build(program: Program, packages: dict[str, str], folder: Path) -> None:
    if shutil.which("go") is None:
        raise RuntimeError(
            "go is not installed; the control plane is built from source (https://go.dev/dl, 1.26 or later)"
        )
    with tempfile.TemporaryDirectory() as work:
        Path(work, "go.mod").write_text(_go_mod(program))
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}
        for name, package in packages.items():
            print(f"building {name} of {program.module} {program.version}", file=sys.stderr, flush=True)
            built = folder / f".{name}.{os.getpid()}"
            command = ["go", "build", "-p", "2", "-ldflags", "-s -w", "-o", str(built), package]
            subprocess.run(command, cwd=work, env=environment, check=True, stdout=sys.stderr)
            built.replace(folder / name)  # whole, or not at all


def _go_mod(program: Program) -> str:
    answer = subprocess.run(
        ["go", "mod", "download", "-json", f"{program.module}@{program.version}"],
        check=True,
        capture_output=True,
        text=True,
    )
    text = Path(json.loads(answer.stdout)["GoMod"]).read_text()
    text = re.sub(r"(?m)^module .*$", "module chipsieve.test/build", text, count=1)
    for pattern, replacement in program.replaced:
        text = re.sub(pattern, replacement, text)
    return f"{text}\nrequire {program.module} {program.version}\n"


if __name__ == "__main__":
    print(binaries())
