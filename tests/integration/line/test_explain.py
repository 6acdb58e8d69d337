"""`chipsieve explain` on the running line: what it says of verdicts that the line really gave."""

import dataclasses
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from services.cli.commands import app
from services.cli.demo.render import render_chip
from shared.events import ChipInspected, Verdict
from tests.bad_pictures import encoded
from tests.integration.line.conftest import PRODUCT, RunningLine, captured, good_chip

AGREES, DIFFERS, UNTOLD = 0, 1, 2


@dataclass
class Explained:
    """What the command said."""

    status: int
    said: str

    @property
    def document(self) -> dict:
        return json.loads(self.said)

    @property
    def differing(self) -> list[str]:
        return [each["field"] for each in self.document["compared"] if not each["same"]]


@pytest.fixture
def line_id() -> str:
    """A line of the test's own."""
    return f"line-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def explain(line: RunningLine, stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Explained]:
    """The command, on this line."""
    settings = {"CHIPSIEVE_TOPIC_PREFIX": line.settings.topic_prefix, "CHIPSIEVE_IMAGES__ROOT": str(line.image_root)}
    for name, value in (stack.env() | settings).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Explained:
        done = CliRunner().invoke(app, ["explain", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Explained(done.exit_code, done.stdout if done.exit_code != UNTOLD else done.stderr)

    return run


def defective_chip() -> bytes:
    picture = render_chip(np.random.default_rng(5), PRODUCT, None).picture.copy()
    height, width = picture.shape[:2]
    picture[height // 3 : height // 2, width // 3 : width // 2] = (250, 20, 20)
    return encoded(Image.fromarray(picture), "PNG")


def said_otherwise(line: RunningLine, verdict: ChipInspected, **changes: object) -> ChipInspected:
    """One more verdict on the chip, which the line did not give; it is the last one then."""
    other = dataclasses.replace(verdict, **changes)
    known = len(line.verdicts(verdict.line_id, 1))
    line.send(other)
    line.verdicts(verdict.line_id, known + 1)
    return other


def test_verdicts_given_in_company_come_out_again_to_the_last_bit(
    line: RunningLine, line_id: str, explain, tmp_path: Path
) -> None:
    pictures = [good_chip(1), defective_chip(), good_chip(2), good_chip(3)]
    line.send_all([captured(line_id, picture) for picture in pictures])
    verdicts = line.verdicts(line_id, len(pictures))
    assert [verdict.verdict for verdict in verdicts] == [Verdict.PASS, Verdict.REJECT, Verdict.PASS, Verdict.PASS]
    for verdict in verdicts[:2]:
        explained = explain(verdict.event_id, "--json", "--overlay", str(tmp_path / "overlay.png"))
        document = explained.document
        assert (explained.status, explained.differing, document["agrees"]) == (AGREES, [], True)
        assert document["features"]["same"]
        assert document["recomputed_with"] == document["engine"] == verdict.engine
        assert math.isclose(sum(share["score"] for share in document["shares"]), verdict.score, rel_tol=1e-5)
        drawn = np.asarray(Image.open(tmp_path / "overlay.png"))
        plain = np.asarray(Image.open(_file(tmp_path, pictures[verdicts.index(verdict)])))
        assert (drawn != plain).any() == (verdict.verdict is Verdict.REJECT)


def test_it_tells_people_why_where_and_by_what(line: RunningLine, line_id: str, explain) -> None:
    line.send(captured(line_id, defective_chip()))
    (verdict,) = line.verdicts(line_id, 1)
    explained = explain(verdict.event_id, "--since", "1h")
    assert explained.status == AGREES
    for part in (
        f"REJECT: the score {verdict.score:.4f} is above the threshold {verdict.threshold:.4f}",
        "b12@256/3 (cosine) +",
        f"bank       {verdict.bank_version}, feature space {verdict.feature_space}",
        "above the mask's threshold",
        "agrees: the picture and bank",
    ):
        assert part in explained.said


def test_a_verdict_that_is_off_by_one_bit_is_told_from_the_true_one(line: RunningLine, line_id: str, explain) -> None:
    line.send(captured(line_id, defective_chip()))
    (verdict,) = line.verdicts(line_id, 1)
    values = bytearray(verdict.anomaly_map.values)
    values[0] ^= 1
    said_otherwise(
        line,
        verdict,
        score=math.nextafter(verdict.score, math.inf),
        anomaly_map=dataclasses.replace(verdict.anomaly_map, values=bytes(values)),
        regions=verdict.regions[1:],
    )
    explained = explain(verdict.event_id, "--json")
    assert (explained.status, explained.differing) == (DIFFERS, ["score", "anomaly_map", "regions"])
    assert explained.document["features"]["same"]
    assert explained.document["earlier_verdicts"] == 1
    assert "differs in score, anomaly_map, regions" in explain(verdict.event_id).said


def test_features_that_another_engine_made_are_told_from_another_verdict(
    line: RunningLine, line_id: str, explain
) -> None:
    line.send(captured(line_id, good_chip()))
    (features,) = line.features(line_id, 1)
    grid = features.grids[0]
    noisy = dataclasses.replace(grid, values=bytes([grid.values[0] ^ 1]) + grid.values[1:])
    elsewhere = dataclasses.replace(
        features,
        event_id=str(uuid.uuid4()),
        engine="openvino 2026.0.0 f32 on another processor",
        grids=(noisy, *features.grids[1:]),
    )
    line.send(elsewhere)
    verdict = line.verdicts(line_id, 2)[1]
    assert verdict.engine == elsewhere.engine
    picture = _file(line.image_root, good_chip())
    explained = explain(verdict.event_id, "--json", "--picture", str(picture))
    assert explained.status == DIFFERS
    assert explained.document["features"] == {
        "kept": True,
        "same": False,
        "difference": f"{grid.layer}: 1 of {len(grid.values)} values, 0 of {grid.height * grid.width} scales",
        "verdict_follows": True,
    }
    told = explain(verdict.event_id, "--picture", str(picture)).said
    assert "the verdict follows from the features that travelled" in told
    assert "other last digits may come of that" in told


def test_features_that_waited_for_a_matcher_are_found(line: RunningLine, line_id: str, explain) -> None:
    line.send(captured(line_id, good_chip()))
    (verdict,) = line.verdicts(line_id, 1)
    said_otherwise(line, verdict, inspected_at=verdict.inspected_at + timedelta(hours=1))
    explained = explain(verdict.event_id, "--json")
    assert (explained.status, explained.document["features"]["kept"]) == (AGREES, True)


def test_picture_and_bundle_from_an_archive_do_where_kafka_and_redis_have_them_no_more(
    line: RunningLine, line_id: str, explain, bundle: Path, tmp_path: Path
) -> None:
    line.send(captured(line_id, good_chip()))
    (verdict,) = line.verdicts(line_id, 1)
    gone = dataclasses.replace(verdict.image, offset=10**9)
    said_otherwise(line, verdict, image=gone)
    told = explain(verdict.event_id)
    assert (told.status, "not kept any more" in told.said, "--picture" in told.said) == (UNTOLD, True, True)
    another = _file(tmp_path, good_chip(77))
    assert "is not the picture that was judged" in explain(verdict.event_id, "--picture", str(another)).said
    picture = _file(tmp_path, good_chip())
    assert explain(verdict.event_id, "--picture", str(picture), "--bundle", str(bundle)).status == AGREES


def test_a_bank_that_redis_does_not_have_is_named(line: RunningLine, line_id: str, explain, bundle: Path) -> None:
    line.send(captured(line_id, good_chip()))
    (verdict,) = line.verdicts(line_id, 1)
    said_otherwise(line, verdict, bank_version="20200101T000000-00000000")
    told = explain(verdict.event_id)
    assert (told.status, "has no version 20200101T000000-00000000" in told.said) == (UNTOLD, True)
    assert "give that with --bundle" in told.said
    told = explain(verdict.event_id, "--bundle", str(bundle))
    assert (told.status, "give that bundle" in told.said) == (UNTOLD, True)


def test_what_is_no_picture_is_found_to_be_none_again(line: RunningLine, line_id: str, explain) -> None:
    line.send(captured(line_id, b"no picture at all"))
    (verdict,) = line.verdicts(line_id, 1)
    explained = explain(verdict.event_id, "--json")
    assert (explained.status, explained.document["verdict"]) == (AGREES, "UNINSPECTED")
    assert "UNINSPECTED, UNDECODABLE_IMAGE" in explain(verdict.event_id).said


def test_a_picture_that_was_missing_and_is_there_now_is_another_verdict(
    line: RunningLine, line_id: str, explain
) -> None:
    path = line.image_root / f"{line_id}.png"
    line.send(captured(line_id, good_chip(), image_bytes=None, image_uri=path.as_uri()))
    (verdict,) = line.verdicts(line_id, 1)
    assert explain(verdict.event_id).status == AGREES
    path.write_bytes(good_chip())
    explained = explain(verdict.event_id, "--json")
    assert (explained.status, explained.differing) == (DIFFERS, ["uninspected"])


def test_what_the_clock_decided_cannot_be_made_again(line: RunningLine, line_id: str, explain) -> None:
    line.send(captured(line_id, good_chip(), verdict_by=datetime.now(UTC) - timedelta(seconds=1)))
    (verdict,) = line.verdicts(line_id, 1)
    told = explain(verdict.event_id)
    assert (told.status, "TOO_LATE" in told.said) == (UNTOLD, True)


def test_an_event_without_a_verdict_is_no_difference(line: RunningLine, explain) -> None:
    told = explain("never-heard-of")
    assert (told.status, "no verdict on event never-heard-of" in told.said) == (UNTOLD, True)
    assert "`chipsieve tail inspections --from-beginning --json`" in told.said


def _file(folder: Path, picture: bytes) -> Path:
    path = folder / f"{uuid.uuid4().hex}.png"
    path.write_bytes(picture)
    return path
