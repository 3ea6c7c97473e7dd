"""Asking ledger workers how an account stands: the lane's owner first, and never for long."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from dashboards.sources.standings import LiveStandings, UnansweredError
from koban.ledger.standing import Standing, Standings
from schemas.partitioning import lane_of

LANES = 4
LANE = lane_of("w-1", LANES)
OTHER = (LANE + 1) % LANES


class Worker(ThreadingHTTPServer):
    """A ledger worker with some lanes; every account stands at its port."""

    def __init__(self, *lanes: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.lanes = lanes
        self.port = self.server_address[1]
        self.asked: list[tuple[str, str | None]] = []


class Answer(BaseHTTPRequestHandler):
    server: Worker

    def do_GET(self) -> None:
        account = parse_qs(urlsplit(self.path).query)["account"][0]
        self.server.asked.append((account, self.headers["Authorization"]))
        wanted = [LANE] if account.startswith("U.w-1.") else range(LANES)
        lanes = [lane for lane in self.server.lanes if lane in wanted]
        body = msgspec.json.encode(Standings(lanes, [Standing(lane, self.server.port, 0, 0, 1) for lane in lanes]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def platform(folder: Path, *workers: Worker, token: str = "t") -> Iterator[LiveStandings]:
    ports = {f"ledger-{number}": worker.port for number, worker in enumerate(workers)}
    (folder / "platform.json").write_text(json.dumps({"metrics_ports": {"gate": 1, **ports}}))
    for worker in workers:
        threading.Thread(target=worker.serve_forever, daemon=True).start()
    live = LiveStandings(folder / "platform.json", token, LANES)
    try:
        yield live
    finally:
        live.close()
        for worker in workers:
            worker.shutdown()
            worker.server_close()


def test_the_lanes_owner_is_asked_first_once_it_is_known(tmp_path: Path) -> None:
    """And shown the token."""
    other, owner = Worker(OTHER), Worker(LANE)
    with platform(tmp_path, other, owner) as live:
        for _ in range(3):
            assert live.ask("U.w-1.money") == [Standing(LANE, owner.port, 0, 0, 1)]
    assert (len(other.asked), len(owner.asked)) == (1, 3)
    assert owner.asked[0] == ("U.w-1.money", "Bearer t")


def test_an_account_of_the_house_is_asked_of_all_lanes(tmp_path: Path) -> None:
    """One part a lane, or no answer at all: a sum without a part would be wrong."""
    with platform(tmp_path, Worker(0, 1), Worker(2, 3)) as live:
        assert [part.lane for part in live.ask("A.bank")] == [0, 1, 2, 3]
    with platform(tmp_path, Worker(0, 1), Worker(2)) as live:
        with pytest.raises(UnansweredError, match=r"lanes \[3\]"):
            live.ask("A.bank")
        assert [part.lane for part in live.ask("A.bank@2") if part.lane == 2] == [2]


def test_without_workers_a_token_or_a_platform_there_is_no_answer(tmp_path: Path) -> None:
    """Each is told by what is missing."""
    gone = Worker(LANE)
    with platform(tmp_path, gone) as live:
        gone.shutdown()
        gone.server_close()
        with pytest.raises(UnansweredError, match="no worker answers"):
            live.ask("U.w-1.money")
        with pytest.raises(UnansweredError, match="no account of the chart"):
            live.ask("nonsense")
    with platform(tmp_path, Worker(LANE), token="") as live, pytest.raises(UnansweredError, match="no token"):
        live.ask("U.w-1.money")
    nowhere = LiveStandings(tmp_path / "gone.json", "t", LANES)
    with pytest.raises(UnansweredError, match="no platform"):
        nowhere.ask("U.w-1.money")
    nowhere.close()
