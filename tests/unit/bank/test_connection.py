import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.local_stack import certificates
from shared.bank.bank_cache import BankCache
from shared.bank.connection import Connection
from shared.bank.errors import BankUnavailable
from shared.bank.store import BankStore
from shared.errors import ConfigurationError
from shared.settings import RedisSettings


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """What takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("secret")
    return file


@pytest.fixture
def store(listening: socket.socket, password: Path) -> Iterator[BankStore]:
    store = BankStore(RedisSettings(url=f"redis://127.0.0.1:{listening.getsockname()[1]}/0", password_file=password))
    yield store
    store.close()


def test_a_password_file_that_is_empty_for_a_moment_is_waited_for(store: BankStore, password: Path) -> None:
    password.write_text("")  # as who writes another into it leaves it for a moment
    with pytest.raises(BankUnavailable, match=r"PASSWORD_FILE is .*, which is empty"):
        store.active("x")
    password.unlink()
    with pytest.raises(BankUnavailable, match=r"PASSWORD_FILE is .*, which cannot be read"):
        store.active("x")


def test_a_connection_without_its_password_is_not_kept(
    store: BankStore, password: Path, listening: socket.socket
) -> None:
    password.write_text("")
    with pytest.raises(BankUnavailable):
        store.active("x")
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(10)
        assert connection.recv(1) == b"", "it would be used as the user `default`"


def test_who_follows_the_banks_says_that_the_password_cannot_be_read(store: BankStore, password: Path) -> None:
    with BankCache(store) as banks:
        password.write_text("")
        banks.refresh()
        assert "which is empty" in (banks.degraded_because() or "")


def test_a_password_file_that_is_empty_from_the_beginning_is_a_configuration_error(password: Path) -> None:
    password.write_text("")
    with pytest.raises(ConfigurationError, match="PASSWORD_FILE"):
        BankStore(RedisSettings(password_file=password))


@pytest.mark.parametrize(("scheme", "checked"), [("rediss", True), ("redis", False)])
def test_a_certificates_authority_is_for_tls_alone(tmp_path: Path, scheme: str, checked: bool) -> None:
    certificates.make_authority(tmp_path)
    authority = tmp_path / "ca.crt"
    connection = Connection(RedisSettings(url=f"{scheme}://localhost", ssl_ca_location=authority))
    options = connection.redis.connection_pool.connection_kwargs
    assert options.get("ssl_ca_certs") == (str(authority) if checked else None)
    without = Connection(RedisSettings(url=f"{scheme}://localhost"))
    assert "ssl_ca_certs" not in without.redis.connection_pool.connection_kwargs
