"""The Apicurio schema registry, spoken to through its Confluent-compatible interface."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from services.cli.local_stack import jvm
from services.cli.local_stack.artifacts import Artifacts
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.server import Server

PATH = "/apis/ccompat/v7"
HEAP_MB = 256
READY_TIMEOUT_S = 2.0


def address(port: int) -> str:
    """URL of the Confluent-compatible interface."""
    return f"http://{HOST}:{port}{PATH}"


def server(home: Path, port: int, artifacts: Artifacts) -> Server:
    """The registry, with its database in `home`, listening on `port`."""
    return Server(
        name="registry",
        address=address(port),
        command=[*jvm.command(artifacts, heap_mb=HEAP_MB), "-jar", str(artifacts.registry / "quarkus-run.jar")],
        environment={
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(port),
            # Its health and metrics have a port of their own, 9000 by default, where a second stack would fail.
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_MANAGEMENT_PORT": "0",
            # NON_KEYWORDS: a table of the registry has a column named like a word that H2 reserves.
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{home / 'db'};NON_KEYWORDS=VALUE",
        },
        ready=is_ready,
    )


def is_ready(url: str) -> bool:
    """Whether it answers for its subjects, which takes the database too."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path}/subjects")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
