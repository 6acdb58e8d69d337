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


def test_a_stage_that_comes_again_with_more_to_do_is_counted_anew() -> None:
    """Copies of normals are looked at first for the banks and then, with those of defects, for what these teach."""
    written, lines = io.StringIO(), list[str]()
    told = Lines(lines.append)
    with bars(Console(file=written, force_terminal=True, width=100)) as shown:
        for total in (2, 300):
            for done in range(1, total + 1):
                shown("turning pictures", done, total)
                told("turning pictures", done, total)
    assert "300/300" in written.getvalue()
    assert lines == [f"turning pictures: {done}" for done in ("1 of 2", "2 of 2", "1 of 300", "300 of 300")]
