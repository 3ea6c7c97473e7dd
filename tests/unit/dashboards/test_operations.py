"""The operations desk: what it shows of stages, topics, stores and components, and what can be done from it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from kafka.errors import KafkaConnectionError

from dashboards.app import create_app
from dashboards.board import board
from dashboards.desks import operations_letters, operations_trace
from dashboards.desks.operations_letters import meant, readable
from dashboards.people.credentials import form_token
from dashboards.sources import reports
from dashboards.sources.catalogue import sources
from dashboards.sources.index import IndexState
from dashboards.sources.jobs import Errand, JobState
from dashboards.sources.offsets import GroupLag, Offsets, TopicState
from dashboards.sources.platform import Component
from dashboards.sources.stores import BookState, LakeState, newest
from dashboards.sources.workers import History, Stage, samples
from dashboards.standing import SILENT, Answer
from jobs import holds
from koban.settings import Settings
from streams import dead_letters
from streams.dead_letters import Fate, Letter, Place, Replay
from streams.tracing.record import LogRecord
from streams.tracing.story import Trace
from tests.unit.dashboards.people.world import World
from tests.unit.koban.gate.examples import raw
from tests.unit.streams.dead_letters.test_mending import letter

NOW = 1_763_780_400.0  # 2025-11-22 12:00:00 JST


class Client:
    """A client within the test's own event loop; nothing is polled, so the board is what the test makes it."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        nowhere = "127.0.0.1:9"
        self.settings = Settings.from_environ(
            {
                "KOBAN_DATA_DIR": str(folder),
                "KOBAN_KAFKA_BOOTSTRAP": nowhere,
                "KOBAN_OPENSEARCH_URL": f"http://{nowhere}",
                "KOBAN_FLINK_URL": f"http://{nowhere}",
                "KOBAN_CONSOLE_URL": "http://127.0.0.1:8080",
            }
        )
        self._sources = sources(self.settings)
        self._world = World(folder)
        self.app = create_app(self.settings, self._sources, self._world.people)
        self.live = self.app.state.console.live
        transport = httpx.ASGITransport(self.app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
        self.sign_in("kei", "operator")

    def sign_in(self, name: str, *roles: str) -> None:
        """From now on somebody else asks."""
        secret = self._world.signed_in(name, *roles)
        self._client.cookies.set("koban_session", secret)
        self._csrf = form_token(secret)

    def get(self, path: str) -> httpx.Response:
        return self._runner.run(self._client.get(path))

    def post(self, path: str, csrf: str = "", **fields: str) -> httpx.Response:
        headers = {"content-type": "application/x-www-form-urlencoded", "X-CSRF-Token": csrf or self._csrf}
        return self._runner.run(self._client.post(path, content=urlencode(fields), headers=headers))

    def run(self, step: Any) -> Any:
        return self._runner.run(step)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._sources.close())
        self._world.people.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with asyncio.Runner() as runner:
        made = Client(runner, tmp_path)
        yield made
        made.close()


def offsets(seconds: float = 0.0, records: int = 0) -> Offsets:
    lags = tuple(
        GroupLag(group=f"koban-{name}", topic="payments-valid", records=records, seconds=seconds, rate_per_s=120.0)
        for name in ("ledger", "fraud-patterns", "lake")
    )
    valid = TopicState(name="payments-valid", begins={0: 10, 1: 0}, ends={0: 1010, 1: 500}, rate_per_s=99, groups=lags)
    truth = TopicState(name="simulator-truth", begins={0: 0}, ends={0: 3}, rate_per_s=None, groups=())
    return Offsets(topics={"payments-valid": valid, "simulator-truth": truth})


STAGES = {
    "ledger": Stage(
        "ledger", up=True, rate_per_s=120.0, lag_records=0, p50_s=0.03, p99_s=0.09, dead_letters=2, retries=1
    ),
    "book": Stage("book", up=False, down_since=NOW - 7),
    "jobs": Stage("jobs", up=True, jobs={"fraud_patterns": True, "lake": True}, checkpoint_age_s={"lake": 4.0}),
}  # fmt: skip
COMPONENTS = {
    "kafka": Component(health="healthy", starts=1, pid=7, since=NOW - 60, resident_bytes=512_000_000),
    "book": Component(health="waiting", starts=2, failures=1, since=NOW - 7, reason="it ended; its log says why"),
    "ledger": Component(health="starting", starts=1, since=NOW - 1),
}
JOBS = {
    "lake": JobState(name="lake", state="RUNNING", running=True, held=False, tasks=2, tasks_running=2),
    "cashback": JobState(
        name="cashback", state="STOPPED", running=False, held=True,
        errand=Errand(action="stop", began_at=NOW - 3, ended_at=NOW - 1, result="file:/checkpoints/savepoint-9"),
    ),
}  # fmt: skip


def filled(**answers: Answer) -> Any:
    known = {
        "workers": Answer(STAGES, at=NOW),
        "topics": SILENT,
        "index": Answer(IndexState(1234, 5, int((NOW - 1) * 1e6)), at=NOW),
        "platform": Answer(COMPONENTS, at=NOW),
        "offsets": Answer(offsets(), at=NOW),
        "flink": Answer(JOBS, at=NOW),
        "mysql": Answer(BookState(lanes=4, complete_to=NOW - 2), at=NOW),
        "lake_files": Answer(LakeState(hours=3, newest_hour="dt=2025-11-22/hour=12", newest_file_at=NOW - 9), at=NOW),
    }
    said = known | answers
    first = [said.pop(name) for name in ("workers", "topics", "index", "platform")]
    return board(NOW, *first, None, said)


def test_the_desk_shows_what_is_measured_and_names_what_is_not_well(client: Client) -> None:
    """Stages with rate, lag, latencies and errors; components with memory; jobs; stores; what is broken since when."""
    client.live.board = filled()
    text = client.get("/operations?lang=en").text
    for part in ("120", "30 ms", "90 ms", "512 MB", "it ended; its log says why", "savepoint-9", "1,234 payments"):
        assert part in text, part
    assert "book (since 11:59:53)" in text, "the banner"
    assert "complete to 11:59:58" in text, "MySQL, by its own marks"
    assert client.live.board.troubles == {"book": NOW - 7}


def test_a_first_start_is_no_trouble_and_a_restart_is(client: Client) -> None:
    """What comes up for the first time is awaited; what was at work and is not is red."""
    assert not COMPONENTS["ledger"].broken
    assert COMPONENTS["book"].broken
    client.live.board = filled()
    text = client.get("/operations?lang=en").text
    assert text.count('<tr data-key="book" class="bad">') == 1
    assert '<tr data-key="ledger" class="bad">' not in text


def test_a_reader_that_is_late_in_time_is_a_trouble_however_few_its_records(client: Client) -> None:
    """Three records that wait for half a minute are a standstill."""
    late = filled(offsets=Answer(offsets(seconds=40.0, records=3), at=NOW))
    assert {name: node.tone for name, node in late.nodes.items()} == {
        "ledger": "ok",  # the worker itself says that nothing waits: the group's word is seconds old
        "book": "bad",
        "fraud_patterns": "warn",
        "lake": "warn",
    }
    assert (late.nodes["lake"].lag_records, late.nodes["lake"].lag_s) == (3, 40.0)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sources_that_are_down_are_told_on_each_panel(client: Client, lang: str) -> None:
    """No figure is shown that nobody said."""
    silent = Answer(down_since=NOW - 30, reason="no answer within 2 s")
    names = ("workers", "topics", "index", "platform", "offsets", "flink", "mysql", "lake_files")
    client.live.board = filled(**dict.fromkeys(names, silent))
    text = client.get(f"/operations?lang={lang}").text
    assert text.count("11:59:30") >= len(names)
    assert "¥0" not in text


def test_a_lake_without_events_is_not_late(client: Client) -> None:
    """It gets no file while nothing happens; it is late only when its job is."""
    old = Answer(LakeState(hours=3, newest_hour="h", newest_file_at=NOW - 900), at=NOW)

    def state(**answers: Answer) -> str:
        return next(row.fresh.state for row in filled(lake_files=old, **answers).stores if row.name == "lake")

    assert state() == "ok"
    assert state(offsets=Answer(offsets(seconds=90, records=5), at=NOW)) == "behind"
    assert state(offsets=SILENT) == "behind", "nobody says that there was nothing to write"


def test_the_newest_committed_file_of_the_lake_counts(tmp_path: Path) -> None:
    """Files that are being written are hidden; a lake that is not there yet has none."""
    assert newest(tmp_path / "none").newest_file_at is None
    hour = tmp_path / "dt=2025-11-22" / "hour=12"
    hour.mkdir(parents=True)
    (hour / ".part-0.inprogress").touch()
    assert newest(tmp_path).newest_file_at is None
    (hour / "part-0").touch()
    assert newest(tmp_path).newest_file_at == (hour / "part-0").stat().st_mtime
    assert newest(tmp_path).newest_hour == "dt=2025-11-22/hour=12"


def test_topics_as_a_page_and_as_data(client: Client) -> None:
    """Partitions, what is kept, who reads and how late; one that nobody reads says so."""
    client.live.board = filled(offsets=Answer(offsets(seconds=40.0, records=3), at=NOW))
    rows = {row["topic"]: row for row in client.get("/operations/topics.json").json()["rows"]}
    assert rows["payments-valid"]["kept"] == 1500
    assert (rows["payments-valid"]["lag_records"], rows["payments-valid"]["lag_s"]) == (9, 40)
    assert rows["payments-valid"]["reading"] == "late"
    assert (rows["simulator-truth"]["reading"], rows["simulator-truth"]["lag_records"]) == ("unread", None)
    text = client.get("/operations/topics/payments-valid?lang=en").text
    for part in ("koban-fraud-patterns", "1,010", "40.0 s"):
        assert part in text, part
    assert client.get("/operations/topics/no-such").status_code == 404
    assert client.get("/operations/topics?reading=late").status_code == 200
    assert client.get("/operations/topics?sort=nonsense").status_code == 400


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[Replay]:
    """A dead-letter topic of two letters; gives back what is sent."""
    sent: list[Replay] = []
    bad = letter(raw(body__amount_minor=-1200))
    binary = msgspec.structs.replace(letter(b"\xff\x00<script>"), place=Place(1, 3))
    known = {each.place: each for each in (bad, binary)}

    def fetch(_: Settings, places: list[Place]) -> list[Letter]:
        if places[0] not in known:
            raise dead_letters.NoSuchLetterError(f"no dead letter at {places[0]}")
        return [known[place] for place in places]

    monkeypatch.setattr(dead_letters, "fetch", fetch)
    monkeypatch.setattr(
        dead_letters, "search", lambda *_, **__: dead_letters.Found(letters=list(known.values()), complete=True)
    )
    monkeypatch.setattr(dead_letters, "send", lambda _, replays, __: sent.extend(replays))
    return sent


def test_letters_are_listed_with_their_reasons(client: Client, letters: list[Replay]) -> None:
    """Filtered by reason, state, stage, topic and producer, all in the address; as data too."""
    text = client.get("/operations/letters?lang=en").text
    assert 'href="/operations/letters/0%3A17"' in text
    assert "out_of_bounds" in text
    rows = client.get("/operations/letters.json?reason_code=out_of_bounds&state=waiting").json()["rows"]
    assert {row["place"] for row in rows} == {"0:17", "1:3"}
    assert client.get("/operations/letters.json?state=replayed").json()["rows"] == []


def test_a_letter_is_mended_tried_and_sent_again(client: Client, letters: list[Replay]) -> None:
    """A trial sends nothing; what would be rejected again is not sent; what passes is sent once, marked as mended."""
    page = client.get("/operations/letters/0:17?lang=en").text
    assert "&#34;amount_minor&#34;: -1200" in page
    tried = client.post(
        "/operations/letters/0:17?lang=en", action="check", value=readable(raw(body__amount_minor=-5)) or ""
    )
    assert "It would be rejected again" in tried.text
    refused = client.post("/operations/letters/0:17", action="replay", value=readable(raw(body__amount_minor=-5)) or "")
    assert (refused.status_code, letters) == (422, [])
    good = (readable(raw(body__amount_minor=1200)) or "").replace("\n", "\r\n")
    assert "It would pass" in client.post("/operations/letters/0:17?lang=en", action="check", value=good).text
    assert letters == []
    done = client.post("/operations/letters/0:17", action="replay", value=good)
    assert (done.status_code, done.headers["location"]) == (303, "/operations/letters/0:17?sent=1")
    (sent,) = letters
    assert (sent.fate, sent.mended, sent.owner, sent.topic) == (Fate.VALID, True, "w-00012345", "payments")
    assert client.get("/operations/letters/0:17?sent=1").status_code == 200


def test_a_letter_that_is_no_text_is_shown_escaped(client: Client, letters: list[Replay]) -> None:
    """It can't be mended in a browser, and nothing in it is run."""
    text = client.get("/operations/letters/1:3?lang=en").text
    assert "<textarea" not in text
    assert "\\xff\x00&lt;script&gt;" in text or "\\xff" in text
    assert "<script>" not in text.replace("<script defer", "").replace('<script type="module"', "")
    assert client.post("/operations/letters/1:3", action="replay").status_code == 422


@pytest.mark.parametrize("place", ["0:99", "nonsense", "0:17:1"])
def test_a_place_without_a_letter_is_not_found(client: Client, letters: list[Replay], place: str) -> None:
    """Whether it is no place or nothing lies there."""
    assert client.get(f"/operations/letters/{place}").status_code == 404


def test_a_broker_that_does_not_answer_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the list, on a letter's page, and when a letter was to be sent."""

    def gone(*_: Any, **__: Any) -> Any:
        raise KafkaConnectionError

    for name in ("search", "fetch"):
        monkeypatch.setattr(dead_letters, name, gone)
    for path in ("/operations/letters?lang=en", "/operations/letters/0:17?lang=en"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "Kafka does not answer" in answer.text
    assert client.get("/operations/letters.json").status_code == 503


def test_whether_a_letter_was_sent_may_not_be_known(
    client: Client, letters: list[Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page keeps the text and says that sending it again does no harm."""

    def gone(*_: Any) -> None:
        raise KafkaConnectionError

    monkeypatch.setattr(dead_letters, "send", gone)
    good = readable(raw(body__amount_minor=1200)) or ""
    answer = client.post("/operations/letters/0:17?lang=en", action="replay", value=good)
    assert answer.status_code == 503
    assert "is not known" in answer.text
    assert "w-00012345" in answer.text


@pytest.mark.parametrize(
    ("value", "text", "bytes_meant"),
    [
        (b'{"a": 1}', '{\r\n  "a": 1\r\n}', b'{"a": 1}'),
        (b'{"a": 1}', '{"a": 2}', b'{"a": 2}'),
        (b"no json\n", "no json", b"no json\n"),
        (b"\xff", None, b"\xff"),
        (None, "", None),
    ],
)
def test_unchanged_text_means_the_original_bytes(
    value: bytes | None, text: str | None, bytes_meant: bytes | None
) -> None:
    """However a browser wraps lines: what was shown and comes back is what the letter holds."""
    assert meant(value, text) == bytes_meant


def test_an_oversized_form_is_refused(client: Client, letters: list[Replay]) -> None:
    """A page's text area has its limits too."""
    assert client.post("/operations/letters/0:17", action="replay", value="x" * 1_100_000).status_code == 413
    assert letters == []


def test_a_job_is_stopped_and_resumed_from_its_page(client: Client) -> None:
    """The answer comes at once; how it went is told with the job. Flink is down here, so a stop fails and says so."""
    client.live.board = filled()
    page = client.get("/operations/jobs/lake?lang=en").text
    assert 'action="/operations/jobs/lake/stop"' in page
    assert page.count('name="csrf"') == 3
    holds.hold(client.settings, "lake")
    assert client.post("/operations/jobs/lake/resume").status_code == 303
    assert errand(client, "lake").error == ""
    assert holds.held(client.settings) == frozenset()
    assert client.post("/operations/jobs/lake/stop").status_code == 303
    assert "no JobManager" in errand(client, "lake").error
    assert holds.held(client.settings) == frozenset(), "a stop that failed holds nothing"
    for path in ("/operations/jobs/nonsense/stop", "/operations/jobs/lake/explode"):
        assert client.post(path).status_code == 404


def errand(client: Client, name: str) -> Errand:
    """A job's errand once it is done."""

    errands: dict[str, Errand] = client.run(client.app.state.console.jobs.settled())
    return errands[name]


def test_reports_are_kept_and_shown_with_their_age(client: Client, tmp_path: Path) -> None:
    """What doctor and verify said last, what was wrong first; none yet is said too."""
    assert "No report yet" in client.get("/operations?lang=en").text
    (tmp_path / "run").mkdir()
    checks = [
        reports.Checked(name="memory", ok=False, detail="2.1 of 8.0 GB available", mend="end other programs"),
        reports.Checked(name="python", ok=True, detail="3.11.7"),
    ]
    before = time.time()
    reports.write(tmp_path, "doctor", 1.5, checks)
    found = client.run(client.app.state.console.reports.ask())
    assert found["doctor"].ok is False
    assert before <= found["doctor"].at <= time.time()
    client.live.board = filled(reports=Answer(found, at=NOW))
    client.live.ticks += 1
    text = client.get("/operations?lang=en").text
    for part in ("1 of 2 hold", "end other programs", "something is wrong"):
        assert part in text, part


def test_a_report_is_no_reason_to_fail(tmp_path: Path) -> None:
    """Without a data directory nothing is kept, and nothing is broken; a damaged one is none."""
    reports.write(tmp_path / "none", "verify", 1.0, [])
    assert reports.read(tmp_path / "none", "verify") is None
    (tmp_path / "run").mkdir()
    reports.file_of(tmp_path, "verify").write_text("{")
    assert reports.read(tmp_path, "verify") is None
    assert operations_letters.LETTERS.key == "place"


def test_a_payment_is_traced_through_the_stages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the times of its events in the index, with how long each stage took; the same as data."""
    asked: list[list[int]] = []

    def nearby(_: Settings, payment_id: str, times_ms: list[int], *, within_s: float) -> tuple[Trace, bool]:
        asked.append(times_ms)
        found = Trace(payment_id)
        for topic, after_us in (("payments", 0), ("payments-valid", 41_000), ("journal", 90_000)):
            value = {"event_type": "PaymentCompleted", "correlation_id": payment_id, "lines": [], "amount_minor": 1200}
            headers = {"koban_at_us": str(int(NOW * 1e6) + after_us).encode()}
            found.take([LogRecord(topic, 1, 7, int(NOW * 1000), None, json.dumps(value).encode(), headers)])
        return found, True

    async def payment(*_: Any) -> dict[str, Any]:
        story = [[1, 5, "e-1", "PaymentCompleted", 1200, None, 1, 7, int(NOW * 1e6)]]
        return {"status": "completed", "amount_minor": 1200, "version": 1, "story": story}

    monkeypatch.setattr(operations_trace, "trace_nearby", nearby)
    monkeypatch.setattr(type(client.app.state.console.search), "payment", payment)
    text = client.get("/operations/trace?payment=0472993188201143902&lang=en").text
    for part in ("41 ms", "90 ms", "payments-valid</a>/1@7", "PaymentCompleted", "completed"):
        assert part in text, part
    assert asked == [[int(NOW * 1000)]]
    document = client.get("/operations/trace.json?payment=0472993188201143902").json()
    assert [hop["topic"] for hop in document["hops"]] == ["payments", "payments-valid", "journal"]
    assert document["complete"] is True


def test_an_index_that_hangs_leaves_time_to_read_the_topics(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document only tells where to read; without it the last minute is read, and the page says what is missing."""
    given: list[float] = []

    def nearby(_: Settings, payment_id: str, times_ms: list[int], *, within_s: float) -> tuple[Trace, bool]:
        given.append(within_s)
        found = Trace(payment_id)
        value = json.dumps({"event_type": "PaymentCompleted", "correlation_id": payment_id}).encode()
        found.take([LogRecord("payments", 1, 7, int(NOW * 1000), None, value, {})])
        return found, True

    async def payment(*_: Any) -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr(operations_trace, "trace_nearby", nearby)
    monkeypatch.setattr(operations_trace, "DOCUMENT_S_MAX", 0.05)
    monkeypatch.setattr(type(client.app.state.console.search), "payment", payment)
    answer = client.get("/operations/trace?payment=0472993188201143902&lang=en")
    assert answer.status_code == 200
    assert "The search index does not answer" in answer.text
    assert "PaymentCompleted" in answer.text
    assert 0 < given[0] < operations_trace.PAGE_S_MAX


def test_a_trace_with_its_stores_down_says_so(client: Client) -> None:
    """Neither index nor brokers answer: that is what is told, not that there is no such payment."""
    answer = client.get("/operations/trace?payment=0472993188201143902&lang=en")
    assert answer.status_code == 503
    assert "The search index does not answer" in answer.text
    assert "Kafka did not answer within five seconds" in answer.text
    assert client.get("/operations/trace?lang=en").status_code == 200


def test_who_may_only_read_the_desk_changes_nothing(client: Client, letters: list[Replay]) -> None:
    """An auditor sees everything and sends, stops and examines nothing; a form of another session does neither."""
    good = readable(raw(body__amount_minor=1200)) or ""
    paths = ("/operations/letters/0:17", "/operations/jobs/lake/stop", "/operations/doctor")
    for path in paths:
        assert client.post(path, "of-another-session", action="replay", value=good).status_code == 403
    client.sign_in("aoi", "auditor")
    for page in ("/operations", "/operations/letters/0:17", "/operations/jobs/lake"):
        text = client.get(page).text
        assert "<main" in text
        assert '<button class="btn' not in text.split("<dialog")[0].split("<main")[1], "no button that would be refused"
    for path in paths:
        assert client.post(path, action="replay", value=good).status_code == 403
    client.sign_in("umi", "merchant:m-1")
    for path in (*paths[:1], "/operations", "/operations/topics", "/operations/trace?payment=1"):
        assert client.get(path).status_code == 403
    assert letters == []
    assert holds.held(client.settings) == frozenset()


def test_lag_and_stores_are_told_to_prometheus_while_somebody_says_them(client: Client) -> None:
    """With the group and the store; a figure that nobody stands for any more is not told as if it still held."""
    client.live.board = filled(offsets=Answer(offsets(seconds=40.0, records=3), at=NOW))
    told = client.get("/metrics").text
    assert 'koban_group_lag_seconds{group="koban-lake",topic="payments-valid"} 40.0' in told
    assert 'koban_group_lag_records{group="koban-lake",topic="payments-valid"} 3.0' in told
    assert 'koban_store_complete_to_seconds{store="mysql"} 1.763780398e+09' in told
    client.live.board = filled(offsets=Answer(offsets(), at=NOW - 60, down_since=NOW - 50))
    assert "koban_group_lag_seconds{" not in client.get("/metrics").text


def test_a_stages_rejections_and_retries_are_counted_across_its_restarts() -> None:
    """From what it wrote to the dead letters; a process that works on no records has neither."""
    history = History("ledger")
    page = 'koban_batch_seconds_count{stage="l"} 1\nkoban_records_out_total{stage="l",topic="payments-dlq"} %d\n'
    for at, letters in ((100.0, 5), (101.0, 2)):
        history.add(at, samples(page % letters + 'koban_batch_retries_total{stage="l"} 1\n'))
    assert (history.stage().dead_letters, history.stage().retries) == (7, 1)
    silent = History("jobs")
    silent.add(100.0, samples('koban_job_running{job="lake"} 1\n'))
    assert (silent.stage().dead_letters, silent.stage().retries) == (None, None)
