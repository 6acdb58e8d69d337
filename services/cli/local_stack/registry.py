"""The Apicurio schema registry, spoken to through its Confluent-compatible interface."""

import http.client
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from services.cli.local_stack import jvm
from services.cli.local_stack.artifacts import Artifacts
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.security import FRONT, Security
from services.cli.local_stack.server import Endpoint, Server
from shared.access import REGISTRY_PATH

HEAP_MB = 256
READY_TIMEOUT_S = 2.0


def endpoint(port: int, security: Security | None = None) -> Endpoint:
    """URL of the Confluent-compatible interface."""
    url = f"{'https' if security else 'http'}://{HOST}:{port}{REGISTRY_PATH}"
    return Endpoint(url, lambda: _answers(url, security))


def server(home: Path, port: int, artifacts: Artifacts, security: Security | None) -> Server:
    """The registry, with its database in `home`, listening on `port`; it is to be started in `home`.

    Quarkus takes paths for lists, URIs and expressions at once. Relative ones hold nothing that means something there.
    """
    return Server(
        name="registry",
        command=[*jvm.command(artifacts, heap_mb=HEAP_MB), "-jar", str(artifacts.registry / "quarkus-run.jar")],
        environment={
            **jvm.ENVIRONMENT,
            "QUARKUS_HTTP_HOST": HOST,
            # Its health and metrics have a port of their own, 9000 by default, where a second stack would fail.
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_MANAGEMENT_PORT": "0",
            # NON_KEYWORDS: a table of the registry has a column named like a word that H2 reserves.
            "APICURIO_DATASOURCE_URL": "jdbc:h2:file:./db;NON_KEYWORDS=VALUE",
            **(_guarded(home, port, security) if security else {"QUARKUS_HTTP_PORT": str(port)}),
        },
        prepare=lambda _lock: security.write_registry_users(_users(security)) if security else None,
    )


def _guarded(home: Path, port: int, security: Security) -> dict[str, str]:
    users, certificate, key = (
        os.path.relpath(file, home)
        for file in (_users(security), security.file(FRONT, "crt"), security.file(FRONT, "key"))
    )
    return {
        "QUARKUS_CONFIG_LOCATIONS": users,
        "QUARKUS_HTTP_INSECURE_REQUESTS": "disabled",
        "QUARKUS_HTTP_SSL_PORT": str(port),
        "QUARKUS_HTTP_SSL_CERTIFICATE_FILES": certificate,
        "QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES": key,
        "QUARKUS_HTTP_SSL_CERTIFICATE_RELOAD_PERIOD": "30s",  # it takes no less
    }


def _users(security: Security) -> Path:
    return security.folder / "registry-users.properties"


def _answers(url: str, security: Security | None) -> bool:
    """Whether it answers for its subjects, which takes the database too."""
    parts = urlsplit(url)
    host, port = parts.hostname or HOST, parts.port
    connection = (
        http.client.HTTPSConnection(
            host, port, timeout=READY_TIMEOUT_S, context=ssl.create_default_context(cafile=str(security.authority))
        )
        if security
        else http.client.HTTPConnection(host, port, timeout=READY_TIMEOUT_S)
    )
    try:
        connection.request("GET", f"{parts.path}/subjects")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
