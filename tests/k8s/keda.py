"""KEDA's operator and metrics adapter beside the control plane.

The adapter listens on its Service's own address, which lies on loopback: so the apiserver's aggregator finds it as it
does in a cluster, without pods or kube-proxy.
"""

import os
from typing import Any

from tests.k8s import certificates
from tests.k8s.control_plane import HOST, ControlPlane, free_port, wait_until
from tests.k8s.distil_crds import KEDA, module_folder

NAMESPACE = "keda"
SERVICE = "keda-metrics-apiserver"
ADDRESS = "127.96.0.99"
PORT = 8443  # not 443, which is root's
OPERATOR = f"keda-operator.{NAMESPACE}.svc.cluster.local"
GROUP = "external.metrics.k8s.io"


def start(cluster: ControlPlane, watched: str) -> None:
    """Have KEDA scale what is in the namespace `watched`."""
    keys = cluster.home / "keda"
    certificates.authority(keys)
    certificates.certificate(keys, "tls", common_name=OPERATOR, hosts=(f"{SERVICE}.{NAMESPACE}.svc",))
    definitions = module_folder(KEDA) / "config" / "crd" / "bases"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definitions))
    cluster.apply(*_resources())
    metrics = f"{HOST}:{free_port()}"
    environment = {
        **os.environ,
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        "WATCH_NAMESPACE": watched,
    }
    kubeconfig = cluster.kubeconfig
    cluster.spawn(
        "keda-operator",
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--enable-cert-rotation=false",
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
        f"--cert-dir={keys}",
        f"--metrics-service-bind-address={metrics}",
        f"--metrics-bind-address={HOST}:{free_port()}",
        f"--health-probe-bind-address={HOST}:{free_port()}",
        environment=environment,
    )
    cluster.spawn(
        "keda-adapter",
        *(f"--{use}={kubeconfig}" for use in ("kubeconfig", "lister-kubeconfig")),
        *(f"--{use}={kubeconfig}" for use in ("authentication-kubeconfig", "authorization-kubeconfig")),
        f"--bind-address={ADDRESS}",
        f"--secure-port={PORT}",
        f"--port={free_port()}",
        f"--cert-dir={keys}",
        f"--tls-cert-file={keys / 'tls.crt'}",
        f"--tls-private-key-file={keys / 'tls.key'}",
        f"--metrics-service-address={metrics}",
        f"--metrics-service-grpc-authority={OPERATOR}",
        environment=environment,
    )
    wait_until(lambda: cluster.run("get", "--raw", f"/apis/{GROUP}/v1beta1").returncode == 0, "KEDA's metrics API")


def _resources() -> list[dict[str, Any]]:
    port = {"name": "https", "port": PORT, "protocol": "TCP"}
    somewhere = "192.0.2.1"  # the aggregator wants an endpoint, and then goes to the Service's address
    named: dict[str, Any] = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"clusterIP": ADDRESS, "ports": [port]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**named, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [somewhere], "conditions": {"ready": True}}],
            "ports": [port],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": SERVICE, "namespace": NAMESPACE, "port": PORT},
            },
        },
    ]
