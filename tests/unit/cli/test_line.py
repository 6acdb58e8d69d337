"""Where services that are started as processes listen."""

from pathlib import Path

from services.cli.line import free_port


def test_a_free_port_is_another_one_each_time_and_none_that_an_outgoing_connection_could_take() -> None:
    lowest_of_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = [free_port() for _ in range(200)]
    assert len(set(found)) == len(found)
    assert max(found) < lowest_of_outgoing
