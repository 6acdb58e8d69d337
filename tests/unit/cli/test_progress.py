import io

from rich.console import Console

from services.cli.progress import QUIET_S, Lines, bars


def test_a_stage_tells_when_it_begins_ends_and_goes_on_for_long() -> None:
    now, lines = [0.0], list[str]()
    told = Lines(lines.append, clock=lambda: now[0])
    for done in range(1, 101):
        told("calibrating", done, 100)
        now[0] += QUIET_S / 40
    assert lines == [
        "calibrating: 1 of 100",
        "calibrating: 41 of 100",
        "calibrating: 81 of 100",
        "calibrating: 100 of 100",
    ]


def test_where_there_is_no_terminal_lines_come_while_the_work_goes_on() -> None:
    written = io.StringIO()
    with bars(Console(file=written)) as told:
        told("reading [pictures]", 1, 2)
        assert written.getvalue() == "reading [pictures]: 1 of 2\n"
