import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.bank import app
from shared.bank.bundle import Bundle
from shared.bank.bundle_folder import write_bundle
from shared.bank.errors import BankUnavailable, CorruptBundle, NotABundle, UnknownProduct, UnknownVersion, VersionInUse
from shared.bank.store import BankStore
from tests.banks import make
from tests.integration.valkey import Valkey


@pytest.fixture(autouse=True)
def environment(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHIPSIEVE_REDIS__URL", valkey.url)


def run(*arguments: object) -> str:
    """What it wrote to standard output; its error is raised as the `chipsieve` command sees it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def bundles(tmp_path: Path) -> list[tuple[Path, Bundle]]:
    """Two bundles of one product."""
    made = [(tmp_path / f"bundle-{seed}", make(seed=seed, minute=seed)) for seed in (1, 2)]
    for folder, bundle in made:
        write_bundle(folder, bundle)
    return made


def test_the_life_of_a_bank(bundles: list[tuple[Path, Bundle]]) -> None:
    (first, old), (second, new) = bundles
    old_version, new_version = old.manifest.version, new.manifest.version
    assert run_json("list") == {"products": []}
    assert run_json("publish", first) == {
        "product": "chip",
        "version": old_version,
        "stored": True,
        "activated": True,
        "active": old_version,
    }
    assert run_json("publish", second, "--no-activate")["active"] == old_version
    assert run_json("activate", "chip", new_version) == {"product": "chip", "active": new_version, "changed": True}
    assert run_json("activate", "chip", new_version)["changed"] is False
    shown = run_json("show", "chip")
    assert [(row["version"], row["active"]) for row in shown["versions"]] == [(new_version, True), (old_version, False)]
    assert shown["history"] == [new_version, old_version]
    assert run_json("show", "chip", old_version) == json.loads(old.manifest.to_json())
    assert run_json("rollback", "chip") == {
        "product": "chip",
        "active": old_version,
        "rolled_back_from": new_version,
    }
    assert run_json("list") == {
        "products": [
            {
                "product": "chip",
                "active": old_version,
                "versions": 2,
                "feature_space": old.manifest.feature_space,
                "threshold": 3.5,
            }
        ]
    }


def test_what_does_not_judge_can_be_removed(bundles: list[tuple[Path, Bundle]]) -> None:
    (first, old), (second, new) = bundles
    old_version, new_version = old.manifest.version, new.manifest.version
    run("publish", first)
    run("publish", second)
    with pytest.raises(VersionInUse, match=f"{new_version} judges"):
        run("remove", "chip", old_version, new_version)
    with pytest.raises(UnknownVersion, match="no version 1"):
        run("remove", "chip", old_version, "1")
    assert len(run_json("show", "chip")["versions"]) == 2
    assert run_json("remove", "chip", old_version) == {
        "product": "chip",
        "removed": [old_version],
        "versions": [new_version],
    }
    assert run_json("show", "chip")["history"] == [new_version]
    with pytest.raises(UnknownVersion, match="to roll back to"):
        run("rollback", "chip")


def test_the_last_version_of_what_never_judged_can_be_removed(bundles: list[tuple[Path, Bundle]]) -> None:
    (first, old), _ = bundles
    version = old.manifest.version
    run("publish", first, "--no-activate")
    assert run_json("remove", "chip", version, version) == {"product": "chip", "removed": [version], "versions": []}
    assert run_json("list") == {"products": []}


def test_people_read_tables_and_sentences(bundles: list[tuple[Path, Bundle]]) -> None:
    (first, old), (second, new) = bundles
    assert "no bank is published" in run("list")
    assert run("publish", first) == f"chip {old.manifest.version} stored, active\n"
    assert run("publish", first) == f"chip {old.manifest.version} was stored already, active\n"
    assert f"not active: {old.manifest.version} is" in run("publish", second, "--no-activate")
    for text in (run("list"), run("show", "chip")):
        assert old.manifest.version in text
        assert old.manifest.feature_space in text
    assert new.manifest.version in run("show", "chip")
    assert "by part" in run("show", "chip", old.manifest.version)
    assert "is active now" in run("activate", "chip", new.manifest.version)
    assert "was active already" in run("activate", "chip", new.manifest.version)
    assert f"{old.manifest.version} is active again, in place of {new.manifest.version}" in run("rollback", "chip")


def test_names_in_brackets_are_shown_as_they_are(valkey: Valkey) -> None:
    store = BankStore(valkey.settings)
    store.publish(make("74HC00 [red]"))
    store.close()
    assert "74HC00 [red]" in run("list")
    assert "74HC00 [red]" in run("show", "74HC00 [red]")


def test_damage_is_shown_and_hides_nothing_else(valkey: Valkey, bundles: list[tuple[Path, Bundle]]) -> None:
    (first, old), (second, new) = bundles
    run("publish", first)
    run("publish", second)
    with valkey.client() as client:
        client.hset("chipsieve:bank:manifests:chip", old.manifest.version, b"[damaged]")
    shown = {row["version"]: row for row in run_json("show", "chip")["versions"]}
    assert "damaged" in shown[old.manifest.version]
    assert shown[new.manifest.version]["threshold"] == 3.5
    assert "damaged" in run("show", "chip")
    with valkey.client() as client:
        client.hset("chipsieve:bank:manifests:chip", new.manifest.version, b"damaged")
    assert "damaged" in run_json("list")["products"][0]
    assert "is not a JSON document" in run("list")
    with valkey.client() as client:
        client.hdel("chipsieve:bank:manifests:chip", new.manifest.version)
    assert "damaged" in run_json("list")["products"][0]
    assert new.manifest.version in run("list")


def test_a_terminal_of_80_columns_shows_versions_and_thresholds_whole(
    bundles: list[tuple[Path, Bundle]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, old), _ = bundles
    run("publish", first)
    monkeypatch.setattr("services.cli.bank.PIPE_WIDTH", 80)
    for shown in (run("list"), run("show", "chip")):
        assert f" {old.manifest.threshold:.4f} " in shown
        assert old.manifest.version in shown
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= 80


def test_errors_say_what_was_wrong(valkey: Valkey, bundles: list[tuple[Path, Bundle]], tmp_path: Path) -> None:
    (first, _), (second, _) = bundles
    with pytest.raises(NotABundle, match="no bundle at"):
        run("publish", tmp_path / "nowhere")
    (second / "layer0.values.npy").write_bytes(b"")
    with pytest.raises(CorruptBundle, match=r"layer0\.values\.npy"):
        run("publish", second)
    with pytest.raises(UnknownProduct, match="'ghost'"):
        run("show", "ghost")
    run("publish", first)
    with pytest.raises(UnknownVersion, match="no version 1"):
        run("activate", "chip", "1")
    with pytest.raises(UnknownVersion, match="no version 1"):
        run("show", "chip", "1")
    with pytest.raises(UnknownVersion, match="to roll back to"):
        run("rollback", "chip")
    valkey.stop()
    with pytest.raises(BankUnavailable, match="cannot be reached"):
        run("list")
