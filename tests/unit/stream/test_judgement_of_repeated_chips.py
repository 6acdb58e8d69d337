"""Chips that come again: sent twice, read again, or sent back from the dead letters."""

from dataclasses import replace

from shared.events import ChipsSettled, ImageCaptured, SettledChip
from shared.stream.judgement import Judge
from shared.stream.record import Received
from tests.events_of_chips import NOON, image_captured
from tests.toy_stage import OnceStep
from tests.unit.stream.test_judgement import CODEC, TOPICS, chips, judge, letters, received


def test_a_chip_that_comes_again_leads_to_nothing():
    judging = judge(OnceStep())
    judging.judge(chips("p"))
    (again,) = judging.judge([received(image_captured(b"picture", 0, product="p"), 7)]).settled
    assert (again.outputs, again.repeated, again.says_nothing) == ((), True, True)


def test_a_chip_whose_outcome_was_not_committed_is_judged_when_it_is_read_again():
    judging = judge(OnceStep())
    batch = [*chips("p"), received(image_captured(b"picture", 1), 0, 1)]
    kept = judging.judge(batch).kept
    judging.forget([0])
    assert [record.repeated for record in judging.judge(batch).settled] == [False, True]
    judging.forget([0])
    judging.recall(0, {ChipsSettled: [CODEC.decode(kept[0].value, ChipsSettled)]})
    assert [record.repeated for record in judging.judge(batch).settled] == [True, True]


def test_as_many_chips_are_read_back_as_are_remembered():
    (recall,) = Judge(OnceStep(), CODEC, TOPICS, remembered_chips=5).recalls
    chip = SettledChip(digest=bytes(16), uninspected=False)
    assert (recall.event, recall.key, recall.latest) == (ChipsSettled, b"toy", 5)
    assert recall.weigh(ChipsSettled(stage="toy", chips=(chip, chip, chip), settled_at=NOON)) == 3


def test_a_chip_that_comes_twice_in_a_batch_is_judged_once():
    step = OnceStep()
    event = image_captured(b"picture", 0, product="poison")
    first, second = judge(step).judge([received(event, 0), received(event, 1)]).settled
    assert (first.repeated, second.repeated) == (False, True)
    assert len(letters(judge(OnceStep()).judge([received(event, 0), received(event, 1)]))) == 1


def test_what_was_taken_is_kept_in_the_partition_it_came_from():
    batch = [received(image_captured(b"p", 0), 0, 2), received(image_captured(b"p", 1, product="poison"), 0, 4)]
    judgement = judge(OnceStep()).judge(batch)
    kept = {output.partition: CODEC.decode(output.value, ChipsSettled) for output in judgement.kept}
    assert [chip.uninspected for chip in kept[2].chips] == [False]
    assert [chip.uninspected for chip in kept[4].chips] == [True]
    assert {output.key for output in judgement.kept} == {b"toy"}
    assert {output.partition for output in judgement.settled[1].outputs} == {4}


def test_a_replayed_chip_is_judged_anew_and_what_follows_says_so():
    judging = judge(OnceStep())
    judging.judge(chips("poison"))
    replay = replace(chips("p")[0], headers=(("replay_of", b"toy:images:0:0"),))
    (anew,) = judging.judge([replay]).settled
    assert anew.verdict == "FORWARDED"
    assert dict(anew.outputs[0].headers)["replay_of"] == b"toy:images:0:0"
    (again,) = judging.judge([replay]).settled
    assert again.repeated


def replay_of(event: ImageCaptured, offset: int) -> Received:
    return replace(received(event, offset), headers=(("replay_of", b"toy:images:0:0"),))


def test_a_chip_that_is_sent_back_waits_for_what_becomes_of_it_in_the_same_batch():
    step = OnceStep()
    judging = judge(step)
    poison, repaired, other = (image_captured(b"p", n, product=p) for n, p in [(0, "poison"), (0, "p"), (1, "p")])
    batch = [received(poison, 0), replay_of(repaired, 1), replay_of(repaired, 2), received(other, 3)]
    elsewhere = received(other, 0, 1)

    first = judging.judge([*batch, elsewhere])
    assert ([record.received for record in first.settled], first.waiting_for) == ([batch[0], elsewhere], {})
    assert step.batches == [["event-0", "event-1"]]
    second = judging.judge(first.remaining)
    assert [(record.received, record.repeated) for record in second.settled] == [(batch[1], False)]
    third = judging.judge(second.remaining)
    assert [(record.received, record.repeated) for record in third.settled] == [(batch[2], True), (batch[3], False)]
    assert third.remaining == ()


def test_a_chip_that_is_sent_back_is_judged_beside_a_repetition_that_was_dropped():
    judging = judge(OnceStep())
    poison = image_captured(b"p", 0, product="poison")
    judging.judge([received(poison, 0)])
    judgement = judging.judge([received(poison, 1), replay_of(replace(poison, product="p"), 2)])
    assert [record.repeated for record in judgement.settled] == [True, False]


def test_a_chip_that_waits_for_the_step_is_not_taken_for_its_own_repetition():
    step = OnceStep()
    step.ready.clear()
    judging = judge(step)
    batch = chips("p", "p")
    assert judging.judge(batch).remaining == tuple(batch)
    step.ready.set()
    assert [record.repeated for record in judging.judge(batch).settled] == [False, False]
