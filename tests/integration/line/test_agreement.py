"""The line gives every chip the score that `evaluate` gives its picture, once, and in order."""

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.cli.demo.render import render_chip
from services.gateway.feed import FeedOrder, feed
from services.gateway.folder import look_into
from services.gateway.producer import ImageProducer
from services.trainer.evaluation.evaluate import evaluate
from tests.integration.line.conftest import PRODUCT, RunningLine

CHIPS = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good chips of several sizes, as JPEG and PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(CHIPS):
        picture = Image.fromarray(render_chip(np.random.default_rng(9000 + number), PRODUCT, None).picture)
        if number % 3 == 0:
            picture = picture.resize((180, 333))
        picture.save(folder / f"{number:03}.{'jpg' if number % 2 else 'png'}")
    return folder


def test_the_line_judges_as_evaluate_does(line: RunningLine, bundle: Path, pictures: Path, tmp_path: Path) -> None:
    evaluate(bundle=bundle, normal=pictures, scores=tmp_path / "scores.jsonl")
    rows = [json.loads(row) for row in (tmp_path / "scores.jsonl").read_text().splitlines()]
    expected = {row["file"]: row["score"] for row in rows}
    lines = [f"line-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    with ImageProducer(line.settings, delivery_timeout_ms=30_000) as producer:
        for line_id in lines:
            order = FeedOrder(folder=pictures, pictures=look_into(pictures).pictures, line_id=line_id, product=PRODUCT)
            assert feed(order, producer).sent == CHIPS
    for line_id in lines:
        verdicts = line.verdicts(line_id, CHIPS)
        assert [verdict.chip_id for verdict in verdicts] == sorted(expected)
        assert [verdict.score for verdict in verdicts] == pytest.approx(
            [expected[verdict.chip_id] for verdict in verdicts], abs=1e-3
        )
