from services.cli.benchmark.warming import has_settled


def test_a_broker_that_takes_less_with_every_round_is_not_warm() -> None:
    assert not has_settled([3.0, 2.4, 1.9])


def test_a_broker_is_warm_once_a_round_saves_next_to_nothing() -> None:
    assert has_settled([3.0, 1.0, 0.97])


def test_one_dear_round_on_the_way_down_does_not_look_like_the_end() -> None:
    assert not has_settled([3.0, 3.4, 2.4])


def test_two_rounds_tell_nothing() -> None:
    assert not has_settled([1.0, 1.0])
