from services.cli.benchmark.soak import Memory, summary


def test_memory_is_told_by_tenths_and_grows_from_the_second_on() -> None:
    filling = [float(value) for value in range(10)]
    flat = [50.0, 50.0, 51.0, 50.0, 50.0, 50.0, 50.0, 90.0, 50.0, 50.0]
    found = summary([*filling, *(flat * 8), *(value + 2 for value in flat)])
    assert found == Memory(tenths=[4.5, *[50.0] * 8, 52.0], growth=2.0, peak=92.0)
