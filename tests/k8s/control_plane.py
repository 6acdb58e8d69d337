"""etcd, apiserver, controller manager, scheduler and kwok as plain processes on loopback, and kubectl to talk to them.

No kubelet and no container: kwok says of every pod that it runs. What decides what a cluster accepts, starts, evicts
and scales is the real thing.
"""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.k8s import certificates
from tests.k8s.kubectl import Kubectl

HOST = "127.0.0.1"
# Services' addresses lie on loopback, so that the apiserver reaches KEDA's metrics adapter under its Service's address.
SERVICE_RANGE = "127.96.0.0/16"
READY_TIMEOUT_S = 240.0  # seconds at most on a quiet machine; a busy one is no failure
NODES = {f"cpu-{n}": {} for n in range(3)} | {
    f"gpu-{n}": {"labels": {"nvidia.com/gpu.present": "true"}, "gpus": "4"} for n in range(2)
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float = READY_TIMEOUT_S, every_s: float = 0.2
) -> Any:
    """What the condition returns as soon as it is true."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return result


class ControlPlane(Kubectl):
    """The processes, and a kubectl that is their administrator."""

    def __init__(self, binaries: Path, home: Path) -> None:
        super().__init__(home / "kubeconfig")
        self._binaries = binaries
        self.home = home
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def spawn(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(self._binaries / name), *arguments], stdout=log, stderr=log, env=environment, cwd=self.home
            )
        self._processes.append((name, process))

    def start(self) -> None:
        keys = self.home / "pki"
        certificates.authority(keys)
        certificates.certificate(keys, "apiserver", common_name="localhost", hosts=("kubernetes.default.svc",))
        certificates.certificate(keys, "front-proxy", common_name="front-proxy")
        certificates.key(keys / "accounts.key")
        etcd, peer, api = free_port(), free_port(), free_port()
        self._start_etcd(etcd, peer)
        token = secrets.token_hex(16)
        tokens = self.home / "tokens.csv"
        tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        self._start_apiserver(keys, tokens, etcd, api)
        self._write_kubeconfig(keys, token, api)
        wait_until(lambda: self._alive() and self.run("get", "--raw", "/readyz").returncode == 0, "apiserver ready")
        common = ("--kubeconfig", str(self.kubeconfig), "--leader-elect=false", f"--bind-address={HOST}")
        self.spawn(
            "kube-controller-manager",
            *common,
            f"--secure-port={free_port()}",
            f"--service-account-private-key-file={keys / 'accounts.key'}",
            f"--root-ca-file={keys / 'ca.crt'}",
            "--horizontal-pod-autoscaler-sync-period=5s",  # 15 by default
            # On a busy machine kwok's heartbeats come late. A node that were lost for it would take its pods' readiness
            # along, which kwok says once and never again.
            "--node-monitor-grace-period=1h",
        )
        self.spawn("kube-scheduler", *common, f"--secure-port={free_port()}")
        self.spawn("kwok", f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes=true", f"--node-ip={HOST}")
        self.apply(*(_node(name, **kind) for name, kind in NODES.items()), *(_volume(number) for number in range(12)))
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_TIMEOUT_S:g}s")

    def stop(self) -> None:
        for _, process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for _, process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _alive(self) -> bool:
        for name, process in self._processes:
            if process.poll() is not None:
                log = (self.home / f"{name}.log").read_text()[-2000:]
                raise AssertionError(f"{name} ended with status {process.returncode}: {log}")
        return True

    def _start_etcd(self, port: int, peer: int) -> None:
        client, peers = f"http://{HOST}:{port}", f"http://{HOST}:{peer}"
        self.spawn(
            "etcd",
            *("--data-dir", str(self.home / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )

    def _start_apiserver(self, keys: Path, tokens: Path, etcd: int, port: int) -> None:
        self.spawn(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{etcd}",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            "--advertise-address=192.0.2.1",  # nobody connects to it; loopback is refused
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.home / 'apiserver'}",
            f"--tls-cert-file={keys / 'apiserver.crt'}",
            f"--tls-private-key-file={keys / 'apiserver.key'}",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'accounts.key'}",
            f"--service-account-signing-key-file={keys / 'accounts.key'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={tokens}",
            # For aggregated APIs: the apiserver says to them who asks.
            f"--requestheader-client-ca-file={keys / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
            f"--proxy-client-key-file={keys / 'front-proxy.key'}",
        )

    def _write_kubeconfig(self, keys: Path, token: str, port: int) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": f"https://{HOST}:{port}", "certificate-authority": str(keys / "ca.crt")},
                }
            ],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.kubeconfig.chmod(0o600)


def _node(name: str, labels: dict[str, str] | None = None, gpus: str | None = None) -> dict[str, Any]:
    capacity = {"cpu": "32", "memory": "128Gi", "pods": "110", **({"nvidia.com/gpu": gpus} if gpus else {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def _volume(number: int) -> dict[str, Any]:
    """What a plant's storage would provide."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "1Ti"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "hostPath": {"path": f"/volumes/{number}"},
        },
    }
