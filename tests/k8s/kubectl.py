"""kubectl, as whom a kubeconfig names."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml


class Kubectl:
    """Calls it, with a kubeconfig that need not be there yet."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *resources: dict[str, Any]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(resources))

    def may(self, user: str, verb: str, kind: str, namespace: str) -> bool:
        return self.run("auth", "can-i", verb, kind, f"--as={user}", f"--namespace={namespace}").stdout.strip() == "yes"
