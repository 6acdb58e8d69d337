import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from services.cli.local_stack import certificates
from services.gateway.certificate import Certificate
from services.gateway.settings import GatewaySettings
from shared.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    certificates.make_authority(tmp_path)
    certificates.issue(tmp_path, "gateway")
    return tmp_path


def shown(certificate: Certificate, folder: Path) -> str:
    """Serial number of the certificate that a new connection is shown, and believes."""
    here, there = socket.socketpair()
    client = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    def answer() -> None:
        with certificate.context.wrap_socket(there, server_side=True) as server:
            server.recv(1)

    serving = threading.Thread(target=answer)
    serving.start()
    with client.wrap_socket(here, server_hostname="localhost") as connection:
        found = connection.getpeercert()
        connection.send(b".")
    serving.join()
    assert found
    return str(found["serialNumber"])


def test_a_renewed_certificate_is_shown_to_new_connections(folder: Path) -> None:
    certificate = Certificate(folder / "gateway.crt", folder / "gateway.key")
    before = shown(certificate, folder)
    certificates.issue(folder, "gateway")
    os.utime(folder / "gateway.key", ns=(1, 1))
    certificate.look_again()
    assert shown(certificate, folder) != before


def test_it_looks_again_until_it_is_told_to_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, looks = threading.Event(), []
    certificate = Certificate(folder / "gateway.crt", folder / "gateway.key")

    def look_again() -> None:
        looks.append(None)
        if len(looks) == 3:
            stopped.set()

    monkeypatch.setattr(certificate, "look_again", look_again)
    certificate.follow(stopped, every_s=0.0)
    assert len(looks) == 3


def test_half_a_renewal_leaves_the_certificate_that_was(folder: Path) -> None:
    certificate = Certificate(folder / "gateway.crt", folder / "gateway.key")
    before = shown(certificate, folder)
    key = (folder / "gateway.key").read_bytes()
    certificates.issue(folder, "gateway")
    (folder / "gateway.key").write_bytes(key)
    certificate.look_again()
    assert shown(certificate, folder) == before


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_GATEWAY__SSL_CERTIFICATE"):
        Certificate(tmp_path / "x", tmp_path / "x")


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SSL_KEY"):
        GatewaySettings(gateway={"ssl_certificate": tmp_path / "x"})
