"""The contracts as they lie in the checkout: complete, up to date, and checked by the command that CI runs."""

import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from koban.events import EVENT_TYPES, inconsistency
from koban.records import RECORD_TYPES
from ops.cli.contracts import contracts
from schemas import asyncapi, check, examples, published
from schemas.codec import decode_valid
from schemas.errors import InvalidEvent
from schemas.json_schemas import EVENT, Schema, definition, json_schemas
from schemas.published import NotPublishableError, publish, versions
from schemas.topics import topics

SCHEMAS = json_schemas()
EXAMPLES = [path for topic in topics().values() for path in examples.files(topic)]
EVENT_EXAMPLES = {path.stem: json.loads(path.read_text()) for path in examples.files(topics()["payments"])}
ENGINES = ("kafka", "aiokafka", "faust", "pyflink", "opensearchpy", "pymysql", "pandas", "pyarrow")


def test_the_contracts_of_this_checkout_pass() -> None:
    """Every check, by the names that the command prints."""
    results = check.check()
    assert {result.name: result.problems for result in results if not result.ok} == {}
    assert [result.name for result in results] == [
        *("topics", "event types", "glossary", "generated files", "examples", "versions"),
        "compatible with the last published versions",
    ]


def test_the_check_needs_no_engine() -> None:
    """It runs in a checkout where no engine's client is even imported."""
    program = f"import sys, schemas.check as c; c.check(); print([m for m in {ENGINES!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_examples_are_written_by_hand_to_be_read(path: Path) -> None:
    """Two spaces, one field a line, text as it is: an example that a person can copy."""
    text = path.read_text()
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n"


def test_every_event_type_has_an_example() -> None:
    """On the topic where they come in."""
    assert set(EVENT_EXAMPLES) == set(EVENT_TYPES)


JSON_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**16),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.sampled_from(["", "a", "JPY", "money", "card", "5814", "bad id", "u-1", "x" * 65, "x" * 201, "T01"]),
)


@st.composite
def damaged_events(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An example with one field replaced, taken away or added somewhere."""
    name = draw(st.sampled_from(sorted(EVENT_EXAMPLES)))
    event = deepcopy(EVENT_EXAMPLES[name])
    inside = draw(st.sampled_from([event, *_objects_in(event)]))
    field = draw(st.sampled_from([*inside, "new_field"]))
    if field == "event_type":
        return name, event
    if draw(st.booleans()):
        inside[field] = draw(JSON_LEAVES)
    else:
        inside.pop(field, None)
    return name, event


def _objects_in(value: Any) -> list[dict[str, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict) else []
    return found + [each for part in inner for each in _objects_in(part)]


@given(damaged_events())
def test_json_schema_and_decoder_agree(damaged: tuple[str, dict[str, Any]]) -> None:
    """A producer that checks by the JSON Schema is never surprised by the gate's types, nor the other way round."""
    name, event = damaged
    try:
        decode_valid(json.dumps(event).encode())
        decodes = True
    except InvalidEvent:
        decodes = False
    validator = jsonschema.Draft202012Validator(definition(name, SCHEMAS))
    assert validator.is_valid(event) == decodes, event


def test_no_event_of_the_examples_contradicts_itself() -> None:
    """Sums fit, which JSON Schema can't say."""
    for event in EVENT_EXAMPLES.values():
        assert inconsistency(decode_valid(json.dumps(event).encode())) is None


def test_asyncapi_refers_to_what_is_there() -> None:
    """Every reference leads somewhere, inside the document and into the JSON Schemas."""
    document = asyncapi.document(topics())
    for reference in _references(document):
        file, _, pointer = reference.partition("#/")
        target = document if not file else SCHEMAS[Path(file).stem]
        for step in filter(None, pointer.split("/")):
            target = target[step]
    assert set(document["channels"]) == set(topics())
    for name, message in document["components"]["messages"].items():
        assert message["payload"], name


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [found for part in value.values() for found in _references(part)]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []


def test_asyncapi_names_every_producer_and_consumer() -> None:
    """One operation for each who sends to or receives from a topic."""
    operations = asyncapi.document(topics())["operations"]
    sent = {f"{name}.send.{topic.name}" for topic in topics().values() for name in topic.producers}
    received = {f"{name}.receive.{topic.name}" for topic in topics().values() for name in topic.consumers}
    assert set(operations) == sent | received


def test_a_stale_generated_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the command that writes it anew, which then does."""
    stale = tmp_path / "asyncapi.yaml"
    stale.write_text("asyncapi: 2.0.0\n")
    monkeypatch.setattr(asyncapi, "FILE", stale)
    [result] = [result for result in check.check() if not result.ok]
    assert result.problems == (f"{stale} is out of date: run `koban contracts generate`",)
    assert check.generate() == [str(stale)]
    assert check.generate() == []
    assert all(result.ok for result in check.check())


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("payments/LoggedIn.json", None, "there is none for LoggedIn"),
        ("payments/LoggedIn.json", '{"event_type": "LoggedIn"}', "expected a value, got nothing"),
        ("payments/LoggedIn.json", json.dumps(EVENT_EXAMPLES["SignedUp"]), "it holds SignedUp"),
        ("cashback/LoggedIn.json", json.dumps(EVENT_EXAMPLES["LoggedIn"]), "LoggedIn does not travel here"),
        ("balances/odd.json", "{}", "missing required field"),
        ("payments-dlq/odd.json", '{"headers": {}, "value": ""}', "not a dead letter"),
        ("nowhere/odd.json", "{}", "no topic is called so"),
    ],
)
def test_a_wrong_example_is_named(tmp_path: Path, file: str, text: str | None, problem: str) -> None:
    """Missing, broken, misplaced: each with the file and the reason."""
    for path in EXAMPLES:
        copy = tmp_path / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    changed = tmp_path / file
    changed.parent.mkdir(exist_ok=True)
    changed.unlink() if text is None else changed.write_text(text)
    [found] = examples.problems(topics(), SCHEMAS, tmp_path)
    assert problem in found
    assert found.startswith(f"examples/{file.split('/')[0]}")


def grown(value: str = "alert") -> dict[str, Schema]:
    """All schemas, one of them with a new optional field."""
    schemas = deepcopy(SCHEMAS)
    definitions = schemas[value]["$defs"]
    definitions["Alert"]["properties"]["score"] = {"type": "integer", "default": 0}
    return schemas


def test_publishing_goes_by_versions(tmp_path: Path) -> None:
    """First v1; nothing new, nothing written; a change needs its line in the topic's contract, then it is v2."""
    assert sorted(publish(SCHEMAS, topics(), folder=tmp_path)) == sorted(f"{name}/v1.json" for name in SCHEMAS)
    assert publish(SCHEMAS, topics(), folder=tmp_path) == []
    with pytest.raises(NotPublishableError, match=r"add `2: what changed` to versions in alerts\.yaml"):
        publish(grown(), topics(), folder=tmp_path)
    alerts = msgspec.structs.replace(topics()["alerts"], versions={1: "First.", 2: "A score."})
    assert publish(grown(), topics() | {"alerts": alerts}, folder=tmp_path) == ["alert/v2.json"]
    assert versions("alert", tmp_path) == [1, 2]


def test_publishing_refuses_what_would_break_a_consumer(tmp_path: Path) -> None:
    """Nothing is written, unless the last version is replaced on purpose."""
    publish(grown(), topics(), folder=tmp_path)
    with pytest.raises(NotPublishableError, match=r"alert score: removed; read by console, trace, verify"):
        publish(SCHEMAS, topics(), folder=tmp_path)
    assert publish(SCHEMAS, topics(), replace=True, folder=tmp_path) == ["alert/v1.json"]
    assert versions("alert", tmp_path) == [1]


def test_topics_that_carry_one_value_agree_about_its_version() -> None:
    """Two versions of one schema at once are nobody's truth."""
    cashback = topics()["cashback"]
    following = cashback.version + 1
    cashback = msgspec.structs.replace(cashback, versions={**cashback.versions, following: "The next one."})
    with pytest.raises(NotPublishableError, match=f"cashback says {following}"):
        published.declared_version(EVENT, topics() | {"cashback": cashback})


def invoke(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `koban contracts check`."""
    result = CliRunner().invoke(contracts, ["check", "--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def test_the_command_says_ok_in_json() -> None:
    """One object with every check, and exit code 0."""
    code, answer = invoke()
    assert (code, answer["ok"], {row["ok"] for row in answer["checks"]}) == (0, True, {True})


def test_the_command_fails_on_an_incompatible_change(tmp_path: Path) -> None:
    """Compared with a folder of older schemas: field and consumers are named, the exit code is 1."""
    (tmp_path / "alert.json").write_text(json.dumps(grown()["alert"]))
    code, answer = invoke("--against", str(tmp_path))
    [failed] = [row for row in answer["checks"] if not row["ok"]]
    assert (code, answer["ok"]) == (1, False)
    assert failed["problems"] == ["breaks: alert score: removed; read by console, trace, verify"]
    for_people = CliRunner().invoke(contracts, ["check", "--against", str(tmp_path)])
    assert for_people.exit_code == 1
    assert "alert score: removed; read by console, trace, verify" in for_people.stdout


@pytest.mark.parametrize("below", ["", "schemas"])
def test_another_checkout_can_be_compared_with(below: str) -> None:
    """By its root or its schemas folder, topics included."""
    code, answer = invoke("--against", str(check.ROOT / below))
    assert (code, answer["ok"]) == (0, True)


def test_a_topic_that_another_checkout_has_is_missed(tmp_path: Path) -> None:
    """Its consumers are named."""
    (tmp_path / "json").mkdir()
    (tmp_path / "topics").mkdir()
    (tmp_path / "json" / "volume.json").write_text(json.dumps(SCHEMAS["volume"]))
    contract = (check.ROOT / "schemas" / "topics" / "volumes.yaml").read_text()
    (tmp_path / "topics" / "turnover.yaml").write_text(contract.replace("name: volumes", "name: turnover"))
    code, answer = invoke("--against", str(tmp_path))
    assert code == 1
    assert "breaks: topic turnover: removed; read by console, verify" in answer["checks"][-1]["problems"]


@pytest.mark.parametrize(
    ("against", "complaint"),
    [("no-such-revision", "git ls-tree"), ("--upload-pack", "git ls-tree"), ("docs", "no JSON")],
)
def test_what_can_t_be_compared_with_is_said(against: str, complaint: str) -> None:
    """An unknown revision, an option in disguise, a folder without schemas."""
    folder = str(check.ROOT / against) if against == "docs" else against
    result = CliRunner().invoke(contracts, ["check", f"--against={folder}"])
    assert result.exit_code == 1
    assert complaint in result.stderr


@pytest.mark.parametrize("job", ["volumes", "fraud-patterns"])
def test_what_a_sql_job_reads_is_what_its_contract_says(job: str) -> None:
    """The columns of the table that the jobs share, so that a change of a field names the jobs that it hits."""
    text = (check.ROOT / "jobs" / "sql" / "events.sql").read_text()
    table = re.search(r"CREATE TEMPORARY TABLE events \((.*?)\) WITH", text, re.DOTALL)
    assert table is not None
    row = re.search(r"body ROW<(.*?)>", table[1])
    assert row is not None
    within = [f"body.{column.split()[0]}" for column in row[1].split(",")]
    beside = re.findall(r"^  (\w+) (?:STRING|BIGINT)", table[1], re.MULTILINE)
    assert topics()["payments-valid"].consumers[job] == (*beside, *within)


def test_every_record_type_is_in_use() -> None:
    """A value that no topic carries is no contract."""
    carried = {topic.value for topic in topics().values()}
    assert set(RECORD_TYPES) <= carried
