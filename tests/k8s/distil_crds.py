"""Distil the schemas of custom resources, which the offline tests use, from the Go modules of their operators.

    python -m tests.k8s.distil_crds

What is left out: descriptions, status, and versions that are not stored. Both modules are under the Apache License 2.0.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).parents[1] / "unit" / "kubernetes" / "crds"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.89.0"
SOURCES = {
    KEDA: ["config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"],
    PROMETHEUS_OPERATOR: [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
}
STORED = "https://www.apache.org/licenses/LICENSE-2.0"


def module_folder(module: str) -> Path:
    """Where Go keeps a module, after it fetched it if need be."""
    answer = subprocess.run(["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True)
    return Path(json.loads(answer.stdout)["Dir"])


def crd_files() -> dict[Path, str]:
    """The files of the custom resources, with the module each is from."""
    return {module_folder(module) / name: module for module, names in SOURCES.items() for name in names}


def _distilled(node: Any, *, names: bool = False) -> Any:
    """Without descriptions; in `properties` a key is a name, which may be description, too."""
    if isinstance(node, list):
        return [_distilled(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _distilled(value, names=key == "properties" and not names)
        for key, value in node.items()
        if names or not (key == "description" and isinstance(value, str))
    }


def main() -> None:
    """Write one file a resource."""
    for path, module in crd_files().items():
        crd = _distilled(yaml.safe_load(path.read_text()))
        crd["metadata"] = {"name": crd["metadata"]["name"]}
        crd.pop("status", None)
        for version in crd["spec"]["versions"]:
            version["schema"]["openAPIV3Schema"]["properties"].pop("status", None)
        notice = f"# From {module}, {path.name}, without descriptions and status. Apache License 2.0: {STORED}\n"
        (CRDS / path.name).write_text(notice + yaml.safe_dump(crd, sort_keys=False, width=120))


if __name__ == "__main__":
    main()
