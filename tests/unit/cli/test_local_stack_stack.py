"""What `up`, `down` and `status` decide before any server is started."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from services.cli.local_stack import cli, stack
from services.cli.local_stack.errors import DirectoryUnusable, PortTaken, ServerFailed, StackBusy
from services.cli.local_stack.lock import exclusive
from services.cli.local_stack.security import Security, point_here
from shared.settings import Settings


def test_down_in_a_directory_that_never_held_a_stack_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    assert stack.down(tmp_path, purge=True) == []
    assert stack.down(tmp_path / "missing") == []
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_purge_leaves_what_is_not_the_stacks(tmp_path: Path) -> None:
    for name in ("lock", "env", "ports.json", "thesis.tex"):
        (tmp_path / name).touch()
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    stack.down(tmp_path, purge=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_cannot_work_on_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "BUSY_S", 0.0)
    with exclusive(tmp_path / "lock", timeout_s=0), pytest.raises(StackBusy, match=str(tmp_path)):
        stack.down(tmp_path)


def test_a_running_server_is_not_moved_to_another_port(tmp_path: Path) -> None:
    """This very process stands in for a broker that runs."""
    (tmp_path / "run").mkdir()
    ours = psutil.Process()
    (tmp_path / "run" / "kafka.json").write_text(json.dumps({"pid": ours.pid, "started": ours.create_time()}))
    (tmp_path / "ports.json").write_text(json.dumps({"kafka": 19092, "kafka-controller": 19093}))
    with pytest.raises(PortTaken, match="kafka runs on port 19092, not 19999: run `chipsieve local down` first"):
        stack.up(tmp_path, wanted_ports={"kafka": 19999})
    found = {server.name: server for server in stack.status(tmp_path)}
    assert (found["kafka"].running, found["kafka"].ready, found["kafka"].pid) == (True, False, ours.pid)
    assert (found["redis"].running, found["redis"].address) == (False, None)


def test_a_running_server_whose_port_was_forgotten_is_told_with_what_to_do(tmp_path: Path) -> None:
    """This very process stands in for a broker that runs."""
    (tmp_path / "run").mkdir()
    ours = psutil.Process()
    (tmp_path / "run" / "kafka.json").write_text(json.dumps({"pid": ours.pid, "started": ours.create_time()}))
    with pytest.raises(DirectoryUnusable, match=r"ports.json does not say on which port kafka runs: run `.* down`"):
        stack.up(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": null, "started": 1}'])
def test_a_damaged_record_of_a_server_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "lock").touch()
    (tmp_path / "run" / "kafka.json").write_text(content)
    for act in (stack.up, stack.down, stack.status):
        with pytest.raises(DirectoryUnusable, match=r"kafka.json is damaged .*: end kafka by hand .*, remove the file"):
            act(tmp_path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryUnusable, match=f"{tmp_path}/file/stack"):
        stack.up(tmp_path / "file" / "stack")


def test_a_directory_that_the_registry_would_write_beside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable, match="for the backslash"):
        stack.up(tmp_path / "press\\1")
    assert list(tmp_path.iterdir()) == []


def test_an_open_stacks_directory_does_not_become_a_guarded_one(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{}")
    with pytest.raises(DirectoryUnusable, match="holds a stack without passwords"):
        stack.up(tmp_path, secure=True)
    assert not (tmp_path / "security").exists()


def test_a_guarded_stack_keeps_its_authority_and_passwords_and_goes_with_a_purge(tmp_path: Path) -> None:
    first = Security.make(tmp_path)
    kept = {user: first.password(user) for user in first.principals()}
    authority, certificate = first.authority.read_bytes(), first.file("broker", "crt").read_bytes()
    again = Security.make(tmp_path)
    assert {user: again.password(user) for user in again.principals()} == kept
    assert again.authority.read_bytes() == authority
    assert again.file("broker", "crt").read_bytes() != certificate
    assert Security.kept(tmp_path) == again
    (tmp_path / "lock").touch()
    stack.down(tmp_path, purge=True)
    assert Security.kept(tmp_path) is None


def test_a_user_is_given_what_it_needs_to_connect_and_no_more(tmp_path: Path) -> None:
    addresses = stack.Addresses("k:1", "rediss://r:1/0", "https://s:1", security=Security.make(tmp_path))
    gate, trainer = addresses.env("reject-gate"), addresses.env("trainer")
    assert gate["CHIPSIEVE_KAFKA__SASL_USERNAME"] == "reject-gate"
    assert "CHIPSIEVE_REDIS__PASSWORD_FILE" not in gate
    assert trainer["CHIPSIEVE_REDIS__USERNAME"] == "trainer"
    assert "CHIPSIEVE_KAFKA__SASL_USERNAME" not in trainer
    assert not any(password in str(gate) for password in [addresses.security.password("reject-gate")])


def sourced(*files: Path) -> dict[str, str]:
    """The variables of a shell that sources these one after the other."""
    script = "".join(f". {shlex.quote(str(file))}\n" for file in files) + "env -0"
    done = subprocess.run(["bash", "-c", script], env={}, capture_output=True, text=True, check=True)
    variables = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in variables.items() if name.startswith("CHIPSIEVE_")}


@pytest.mark.parametrize("before", ["operator", "matcher", "mes", "trainer"])
def test_a_shell_becomes_a_user_whoever_it_was_before(tmp_path: Path, before: str) -> None:
    guarded, open_stack = tmp_path / "guarded", tmp_path / "open"
    guarded.mkdir()
    open_stack.mkdir()
    security = Security.make(guarded)
    stack.Addresses("k:1", "rediss://r:1/0", "https://s:1", security=security).write_env(guarded)
    stack.Addresses("k:2", "redis://r:2/0", "http://s:2").write_env(open_stack)
    users = security.folder / "users"
    for target in (*(users / user / "env" for user in security.principals()), open_stack / "env"):
        assert sourced(users / before / "env", target) == sourced(target)


def test_a_user_that_the_running_stack_does_not_know_is_named(tmp_path: Path) -> None:
    security = Security.make(tmp_path)
    (security.folder / "users" / "mes" / "password").unlink()  # as if access.yaml named it only since
    with pytest.raises(ServerFailed, match=r"does not know the user mes .*: end it with `chipsieve local down`"):
        security.password("mes")


def test_a_process_that_starts_a_stack_of_its_own_sees_none_of_what_its_shell_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = stack.Addresses("k:1", "rediss://r:1/0", "https://s:1", security=Security.make(tmp_path))
    own = stack.Addresses("k:2", "redis://r:2/0", "http://s:2")
    monkeypatch.setattr("os.environ", {"HOME": "/", **guarded.env()})
    point_here(own.env())
    assert {name for name in os.environ if name.startswith("CHIPSIEVE_")} == own.env().keys()
    settings = Settings()
    assert settings.kafka.client_config() == {"bootstrap.servers": "k:2", "security.protocol": "PLAINTEXT"}
    assert settings.redis.credentials() is None


@pytest.mark.parametrize(("terminal", "is_named"), [(None, True), ("/dev/pts/0", False)])
def test_servers_whose_directory_was_deleted_while_they_ran_are_named_and_nobodys_shell_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: str | None, is_named: bool
) -> None:
    monkeypatch.setattr(psutil.Process, "terminal", lambda _: terminal)
    folder = tmp_path / "stack" / "redis"
    folder.mkdir(parents=True)
    process = subprocess.Popen(["/bin/sleep", "60"], cwd=folder)
    try:
        shutil.rmtree(tmp_path / "stack")
        done = CliRunner().invoke(cli.app, ["down", "--dir", str(tmp_path / "stack")])
    finally:
        process.kill()
        process.wait()
    assert done.stdout == "nothing was running\n"
    told = (
        f"chipsieve: servers of {tmp_path / 'stack'} run on though it was deleted meanwhile: end them with "
        f"`kill {process.pid}`\n"
    )
    assert done.stderr == (told if is_named else "")
