import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from services.cli.demo import observing
from services.cli.demo.observing import QUESTIONS, RULES, Observatory, PrometheusFailed, configuration

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed: apt-get install prometheus"
)


def test_every_service_is_watched_under_its_own_name_with_the_alerts() -> None:
    made = configuration([("matcher", 9101), ("router", 9102)])
    [job] = made["scrape_configs"]
    assert {config["labels"]["job"]: config["targets"] for config in job["static_configs"]} == {
        "matcher": ["127.0.0.1:9101"],
        "router": ["127.0.0.1:9102"],
    }
    assert made["rule_files"] == [str(RULES)]
    assert RULES.exists()


def test_without_prometheus_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing.shutil, "which", lambda _name: None)
    with pytest.raises(PrometheusFailed, match="apt-get install prometheus"):
        Observatory(tmp_path, [])


@needs_prometheus
def test_it_sees_what_a_service_counts_and_tells_it_at_the_end(tmp_path: Path) -> None:
    class Admin(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            labels = 'stage="matcher",verdict="REJECT",line="line-1",product="p"'
            self.wfile.write(f"chipsieve_verdicts_total{{{labels}}} 7\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Admin)
    Thread(target=service.serve_forever, args=(0.1,), daemon=True).start()
    with Observatory(tmp_path, [("matcher", service.server_port)]) as observatory:
        told = observatory.account()  # at once: what has not been seen yet is waited for
        assert observatory.ask('up{job="matcher"}')[0][1] == 1
    service.shutdown()
    service.server_close()
    assert told[0].endswith("line-1 p REJECT 7")
    assert len(told) == len(QUESTIONS)


@needs_prometheus
def test_a_prometheus_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "configuration", lambda _targets: {"no such": "setting"})
    with pytest.raises(PrometheusFailed, match="no such"), Observatory(tmp_path, []):
        pass
