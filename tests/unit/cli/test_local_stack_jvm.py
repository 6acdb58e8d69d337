from pathlib import Path

from services.cli.local_stack import jvm
from services.cli.local_stack.artifacts import Artifacts

ARTIFACTS = Artifacts(
    java=Path("java"), class_data=Path("jsa"), kafka=Path("kafka"), registry=Path("registry"), valkey=Path("valkey")
)


def test_a_server_for_a_while_compiles_quickly_and_one_that_is_measured_compiles_in_full() -> None:
    quick = jvm.command(ARTIFACTS, heap_mb=256)
    full = jvm.command(ARTIFACTS, heap_mb=256, full_compiler=True)
    assert "-XX:TieredStopAtLevel=1" in quick
    assert not [flag for flag in full if "TieredStopAtLevel" in flag]
