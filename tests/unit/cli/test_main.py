import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from services.cli import commands
from shared.errors import ChipsieveError


def chipsieve(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return run("-m", "services.cli", *arguments, **env)


def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=env)


def test_what_is_wrong_is_one_line_on_standard_error_and_no_traceback(tmp_path: Path) -> None:
    done = chipsieve("train", "--product", "p", "--normal", str(tmp_path / "none"), "--out", str(tmp_path / "bundle"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().startswith("chipsieve: ")
    assert "Traceback" not in done.stderr


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = chipsieve("train", "--product", "p", "--normal", str(tmp_path), "--out", str(tmp_path / "file" / "bundle"))
    assert done.returncode == 1
    assert f"no bundle can be written to {tmp_path / 'file' / 'bundle'}" in done.stderr


def test_without_a_broker_standard_output_stays_clean(tmp_path: Path) -> None:
    done = chipsieve(
        "bank", "list", "--json", CHIPSIEVE_REDIS__URL="redis://127.0.0.1:1/0", HOME=str(tmp_path)
    )  # nothing listens on port 1
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr


# Gives up after two seconds instead of fifteen.
IMPATIENT = "from shared import kafka; kafka.ADMIN_TIMEOUT_S = 2.0; from services.cli.__main__ import main; main()"


def test_that_no_broker_answers_is_told_once(tmp_path: Path) -> None:
    nowhere = {"CHIPSIEVE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "HOME": str(tmp_path)}
    done = run("-c", IMPATIENT, "tail", "rejects", **nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("chipsieve: no answer from Kafka at 127.0.0.1:1 ")
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_variable_is_told_on_standard_error(tmp_path: Path) -> None:
    done = chipsieve("token", "line-1", CHIPSIEVE_STREM__BATCH_SIZE="3", HOME=str(tmp_path))
    assert done.returncode == 0
    assert (
        done.stderr == "chipsieve: CHIPSIEVE_STREM__BATCH_SIZE sets nothing: is CHIPSIEVE_STREAM__BATCH_SIZE meant?\n"
    )


def test_the_version_is_told_as_the_package_has_it() -> None:
    assert chipsieve("--version").stdout == f"chipsieve {version('chipsieve')}\n"


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    shown = chipsieve("explain", "--help", COLUMNS="80").stdout
    paragraph = shown[shown.index("Finds the verdict") : shown.index("Arguments")].splitlines()
    assert min(map(len, map(str.strip, paragraph[:3]))) > 60


def test_what_the_locale_has_no_letters_for_is_escaped(tmp_path: Path) -> None:
    done = chipsieve("token", "Linie ラ", PYTHONIOENCODING="latin-1", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert '"Linie \\u30e9"' in done.stdout


def test_a_path_that_the_system_refuses_is_told_without_a_traceback() -> None:
    done = chipsieve("feed", "--line", "line-1", "--product", "p", "n" * 256)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("chipsieve: [Errno 36] File name too long")


def test_a_full_disk_below_standard_output_is_told_without_a_traceback() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "token", "line-1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "chipsieve: [Errno 28] No space left on device\n")


# As a person's Ctrl-C, once the command begins to load what it is made of.
HASTY = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
sys.meta_path.insert(0, Interrupting)
runpy.run_module("services.cli", run_name="__main__")
"""


def test_ctrl_c_while_the_command_is_loaded_ends_with_a_word() -> None:
    done = run("-c", HASTY)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "chipsieve: stopped\n")


def test_a_name_in_a_message_does_nothing_to_the_terminal() -> None:
    done = chipsieve("feed", "--line", "line-1", "--product", "p", "\x1b[2J")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "chipsieve: \\x1b[2J is no folder: give one that holds pictures\n"


def test_a_log_that_a_message_quotes_keeps_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ChipsieveError("kafka ended; its log:\njava.io.IOException\n\tat kafka.Kafka")

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit):
        commands.main()
    assert capsys.readouterr().err == "chipsieve: kafka ended; its log:\njava.io.IOException\n        at kafka.Kafka\n"
