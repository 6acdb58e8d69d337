"""The lock on a stack's directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.local_stack.lock import exclusive

HOLD_A_COPY = "import sys; print('holding', flush=True); sys.stdin.read()"


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, timeout_s=0), pytest.raises(TimeoutError, match="lock"), exclusive(path, timeout_s=0):
        pass
    with exclusive(path, timeout_s=0):
        pass


def test_a_child_that_inherited_the_lock_holds_it_after_its_parent_let_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, timeout_s=0) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD_A_COPY], pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(TimeoutError), exclusive(path, timeout_s=0):
            pass
    with exclusive(path, timeout_s=0):
        pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, timeout_s=0):
        path.unlink()  # as `down --purge` does
        with exclusive(path, timeout_s=0) as second:
            assert os.path.samestat(os.fstat(second), path.stat())
