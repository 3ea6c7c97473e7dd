"""The checks: what is in each store, beside what the oracle says should be there."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from koban.settings import Settings
from ops.kafka_log import topic_names
from ops.verify import books
from ops.verify.evidence import Evidence
from ops.verify.judge import fault

DIFFERENCES_SHOWN = 10
CREDIT_NORMAL = ("U.", "M.", "L.", "R.", "C.")
DEBIT_NORMAL_OF_USERS = ".clawback_due"
IN_FLIGHT = "L.in_flight@"
"""A lane's account of what it sent to other lanes less what it received; the one account that no entry names."""


@dataclass
class Check:
    """One comparison. ``differences`` names the first records that differ."""

    name: str
    expected: object
    actual: object
    ok: bool
    differences: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _compare(name: str, expected: dict[Any, Any], actual: dict[Any, Any]) -> Check:
    keys = [key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)]
    shown = [f"{k}: expected {expected.get(k)}, found {actual.get(k)}" for k in sorted(keys, key=str)]
    return Check(name, len(expected), len(actual), not keys, shown[:DIFFERENCES_SHOWN])


def check_gate(evidence: Evidence) -> Check:
    """Every raw event was let through, dead-lettered or dropped as a duplicate; nothing is missing or twice."""
    judgement = evidence.judgement
    expected = Counter(judgement.valid.keys())
    actual = Counter(event["event_id"] for event in evidence.valid)
    check = _compare("valid events, each once", expected, actual)
    check.expected, check.actual = expected.total(), actual.total()
    return check


def check_sum(evidence: Evidence) -> Check:
    """In = valid + dead-lettered + duplicates, with the dead letters counted where they lie."""
    judgement = evidence.judgement
    actual = len(evidence.valid) + _dead_at_gate(evidence) + judgement.duplicates
    return Check("in = valid + dead-lettered + duplicates", judgement.produced, actual, judgement.produced == actual)


def _dead_at_gate(evidence: Evidence) -> int:
    return sum(1 for letter in evidence.dead_letters if letter.header("koban_stage") == "gate")


def check_dead_letters(evidence: Evidence) -> Check:
    """Every dead letter has a reason and its original bytes, and each event that deserved one has one."""
    raw = {(r.partition, r.offset): r.value for r in evidence.raw}
    faults: list[str] = []
    for letter in evidence.dead_letters:
        place = f"{letter.partition}/{letter.offset}"
        origin = (int(letter.header("koban_origin_partition") or -1), int(letter.header("koban_origin_offset") or -1))
        if not letter.header("koban_reason_code"):
            faults.append(f"{place} has no reason")
            continue
        kept_whole = letter.header("koban_origin_topic") == "payments" and not letter.header("koban_masked")
        if kept_whole and raw.get(origin) != letter.value:
            faults.append(f"{place} does not hold the bytes of payments {origin[0]}/{origin[1]}")
    expected, actual = evidence.judgement.dead_lettered, _dead_at_gate(evidence)
    if expected != actual:
        faults.extend(_unexplained(evidence))
    return Check("dead letters", expected, actual, expected == actual and not faults, faults[:DIFFERENCES_SHOWN])


def _unexplained(evidence: Evidence) -> Iterator[str]:
    """Dead letters that the oracle finds no fault in, and events it finds faulty that are no dead letters."""
    dead = {
        (letter.header("koban_origin_partition"), letter.header("koban_origin_offset"))
        for letter in evidence.dead_letters
    }
    for record in evidence.raw:
        why, is_dead = fault(record.value), (str(record.partition), str(record.offset)) in dead
        if why and not is_dead:
            yield f"payments {record.partition}/{record.offset} is faulty ({why}), but no dead letter"


def check_refusals(evidence: Evidence) -> Check:
    """The ledger refused what breaks a rule of a payment's life, by the rule's name, and nothing else."""
    expected = evidence.lives.refused
    actual: dict[str, str | None] = {}
    posted = {entry["event_id"] for entry in evidence.journal}
    for letter in evidence.dead_letters:
        if letter.header("koban_stage") == "ledger" and letter.header("koban_reason_code") == "refused":
            event_id = _event_id(letter.value)
            if event_id not in posted and letter.header("koban_origin_topic") != "cashback":
                actual[event_id] = (letter.header("koban_reason") or "").partition(":")[0]
    return _compare("refusals", expected, actual)


def _event_id(value: bytes | None) -> str:
    return str(json.loads(value or b"{}").get("event_id"))


def check_entries(evidence: Evidence) -> Check:
    """One balanced entry an event that has an effect and was not refused, for the right amount; none for others."""
    expected: dict[str, int | None] = {}
    for event in (*evidence.events, *evidence.cashback):
        amount = books.moved_minor(event)
        if event["event_id"] not in evidence.lives.refused and amount != 0:
            expected[event["event_id"]] = evidence.lives.asked_minor.get(event["event_id"], amount)
            if event["event_type"] == "RefundRequested":
                expected[event["event_id"]] = 0  # the money moves in an entry of its own
    own = [entry for entry in evidence.journal if entry["entry_id"] == entry["event_id"]]
    seen = Counter(entry["event_id"] for entry in own)
    faults = [f"event {e} has {seen[e]} entries" for e in expected.keys() | seen.keys() if seen[e] != (e in expected)]
    faults += [
        f"entry {entry['entry_id']} does not sum to 0"
        for entry in evidence.journal
        if sum(line["debit_minor"] for line in entry["lines"]) != 0
    ]
    faults += [
        f"entry {entry['entry_id']}: {_debits(entry)}, expected {expected[entry['event_id']]}"
        for entry in own
        if expected.get(entry["event_id"]) not in (None, _debits(entry))
    ]
    return Check("journal entries", len(expected), len(own), not faults, faults[:DIFFERENCES_SHOWN])


def _debits(entry: Mapping[str, Any]) -> int:
    return sum(int(line["debit_minor"]) for line in entry["lines"] if line["debit_minor"] > 0)


def check_following(evidence: Evidence) -> Check:
    """Each refund that was asked for has its money reserved or waits for it, and what was above a cap was moved on."""
    events = {event["event_id"]: event for event in evidence.events if event["event_id"] not in evidence.lives.refused}
    asked = {
        e: event["body"]["amount_minor"] for e, event in events.items() if event["event_type"] == "RefundRequested"
    }
    expected = {f"{e}:reserved": amount for e, amount in asked.items() if e not in evidence.waiting}
    following = [entry for entry in evidence.journal if entry["entry_id"] != entry["event_id"]]
    check = _compare(
        "refunds with their money reserved",
        expected,
        {entry["entry_id"]: _debits(entry) for entry in following if entry["entry_id"].endswith(":reserved")},
    )
    if len(following) != len({entry["entry_id"] for entry in following}):
        check.differences.append("an entry that follows from an event is there twice")
    for entry in following:
        word, event = entry["entry_id"].split(":")[1], events.get(entry["event_id"])
        if event is None or (word == "over_limit" and _debits(entry) > event["body"].get("amount_minor", 10**18)):
            check.differences.append(f"entry {entry['entry_id']} follows from nothing")
    check.ok = not check.differences
    return check


def check_waiting(evidence: Evidence) -> Check:
    """Who waits was asked for, is not completed, and the first of each merchant can't be paid yet."""
    faults, firsts = [], set()
    asked = {event["event_id"] for event in evidence.events if event["event_type"] == "RefundRequested"}
    for event_id, refund in evidence.waiting.items():
        account = refund["account"]
        if event_id not in asked or event_id in evidence.lives.refused:
            faults.append(f"refund {refund['refund_id']} waits, but nobody asked for it")
        there = evidence.balances.get(account, {"posted_minor": 0})["posted_minor"]
        if account not in firsts and there >= refund["amount_minor"]:
            faults.append(f"refund {refund['refund_id']} waits, but {account} has {there}")
        firsts.add(account)
    number = len(evidence.waiting)
    return Check("refunds waiting for funds", number, number - len(faults), not faults, faults[:DIFFERENCES_SHOWN])


def check_balances(evidence: Evidence) -> Check:
    """Each balance is the fold of the journal, its version the number of lines on the account: no gap, no repeat."""
    debit, lines = books.fold(evidence.journal)
    expected = {account: (_normal(account, debit[account]), lines[account]) for account in debit}
    actual = {
        account: (balance["posted_minor"], balance["version"])
        for account, balance in evidence.balances.items()
        if not account.startswith(IN_FLIGHT)
    }
    return _compare("balances = journal, versions gap-free", expected, actual)


def check_in_flight(evidence: Evidence) -> Check:
    """What the lanes sent each other has all arrived: their accounts of legs in flight cancel out."""
    total = sum(b["posted_minor"] for account, b in evidence.balances.items() if account.startswith(IN_FLIGHT))
    return Check("legs in flight, yen", 0, total, total == 0)


def _normal(account: str, debit_minor: int) -> int:
    credit_normal = account.startswith(CREDIT_NORMAL) and not account.endswith(DEBIT_NORMAL_OF_USERS)
    return -debit_minor if credit_normal else debit_minor


def check_trial_balance(evidence: Evidence) -> Check:
    """The sum of all accounts, debits positive, is zero."""
    total = sum(b["posted_minor"] * (1 if _normal(a, 1) > 0 else -1) for a, b in evidence.balances.items())
    return Check("trial balance, yen", 0, total, total == 0)


def check_seals(evidence: Evidence) -> Check:
    """What was written to journal and balances is what was sealed, and the seals hang together."""
    lanes = evidence.audited
    faults = [str(difference) for lane in lanes for difference in lane.differences]
    whole = sum(lane.seals for lane in lanes if lane.ok)
    return Check("seals", sum(lane.seals for lane in lanes), whole, not faults, faults[:DIFFERENCES_SHOWN])


def check_book_entries(evidence: Evidence) -> Check:
    """MySQL has each entry of the journal once, with its lines."""
    expected = {
        entry["entry_id"]: tuple(sorted((line["account"], line["debit_minor"]) for line in entry["lines"]))
        for entry in evidence.journal
    }
    return _compare("MySQL: entries", expected, evidence.tables.entries)


def check_book_sums(evidence: Evidence) -> Check:
    """In MySQL each account's running sum and the sum of its lines are what the journal adds up to."""
    debits, lines = books.fold(evidence.journal)
    expected = {account: (debit, debit, lines[account], lines[account]) for account, debit in debits.items()}
    return _compare("MySQL: accounts' sums", expected, evidence.tables.sums)


def check_book_balances(evidence: Evidence) -> Check:
    """MySQL has the latest balance of each account."""
    expected = {account: (one["posted_minor"], one["version"]) for account, one in evidence.balances.items()}
    return _compare("MySQL: latest balances", expected, evidence.tables.balances)


def check_dynamodb_balances(evidence: Evidence) -> Check:
    """DynamoDB has the latest balance of each account: what the journal adds up to, under its own version."""
    debits, lines = books.fold(evidence.journal)
    expected = {account: (_normal(account, debits[account]), lines[account], lines[account]) for account in debits}
    for account, one in evidence.balances.items():
        if account.startswith(IN_FLIGHT):
            expected[account] = one["posted_minor"], one["version"], one["version"]
    return _compare("DynamoDB: latest balances", expected, evidence.dynamodb)


def check_volumes(evidence: Evidence) -> Check:
    """Payments, refunds and their yen by merchant and minute."""
    expected = {cell: row for cell, row in books.volumes(evidence.events).items() if any(row)}
    return _compare("volumes by merchant and minute", expected, evidence.volumes)


def check_cashback(evidence: Evidence) -> Check:
    """No yen over the budget, none left that a payment could have had, and refunds unwound."""
    granted: dict[str, dict[str, int]] = defaultdict(dict)
    taken: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    faults: list[str] = []
    for event in evidence.cashback:
        body = event["body"]
        if event["event_type"] == "CashbackClawedBack":
            taken[body["campaign_id"]][body["payment_id"]] += body["amount_minor"]
        elif body["payment_id"] in granted[body["campaign_id"]]:
            faults.append(f"{body['payment_id']} was granted twice by {body['campaign_id']}")
        else:
            granted[body["campaign_id"]][body["payment_id"]] = body["amount_minor"]
    for name, campaign in evidence.campaigns.items():
        faults += [f"{name}: {f}" for f in books.cashback(evidence.events, campaign, granted[name], taken[name])]
    total = sum(sum(payments.values()) for payments in granted.values())
    budget = sum(int(campaign["budget_minor"]) for campaign in evidence.campaigns.values())
    return Check("cashback, yen of budget", f"≤ {budget}", total, not faults, faults[:DIFFERENCES_SHOWN])


def check_alerts(evidence: Evidence) -> Check:
    """Each wallet with a T01 burst has an alert, and no other wallet has.

    Events of the last seconds wait for event time to pass them, so a burst that only they complete may be open; and
    one that only late events complete may have been missed, since event time had passed them.
    """
    alerted = {alert["wallet_id"] for alert in evidence.alerts.values()}
    upper = books.bursts(evidence.events)
    newest = max((int(event["occurred_at_us"]) for event in evidence.events), default=0)
    settled_us = newest - 2 * evidence.settings.watermark_delay_s * 1_000_000
    late = evidence.late
    settled = (event for event in evidence.events if int(event["occurred_at_us"]) <= settled_us)
    lower = books.bursts(event for event in settled if event["event_id"] not in late)
    missing, extra = sorted(lower - alerted), sorted(alerted - upper)
    faults = [f"{wallet} has a burst but no alert" for wallet in missing]
    faults += [f"{wallet} has an alert but no burst" for wallet in extra]
    return Check("wallets with an alert", len(lower), len(alerted), not faults, faults[:DIFFERENCES_SHOWN])


def check_index(evidence: Evidence) -> Check:
    """One document a payment, with its last event's number, its amount and what was refunded."""
    return _compare("documents", books.documents(evidence.events), evidence.documents)


def check_lake(evidence: Evidence) -> Check:
    """Every valid event once in the committed Parquet files."""
    expected, actual = Counter(event["event_id"] for event in evidence.events), evidence.lake_event_ids
    check = _compare("events in the lake", expected, actual)
    check.expected, check.actual = expected.total(), actual.total()
    return check


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    check_gate,
    check_sum,
    check_dead_letters,
    check_refusals,
    check_entries,
    check_following,
    check_waiting,
    check_balances,
    check_in_flight,
    check_trial_balance,
    check_seals,
    check_book_entries,
    check_book_sums,
    check_book_balances,
    check_dynamodb_balances,
    check_volumes,
    check_cashback,
    check_alerts,
    check_index,
    check_lake,
)


def run(settings: Settings, checks: Iterable[Callable[[Evidence], Check]] = CHECKS) -> list[Check]:
    """All checks over what the stores hold now. A store that does not answer fails its checks by name.

    A store that the platform does not have (DynamoDB, without its URL) is not asked.
    """
    evidence = Evidence(settings)
    results = []
    for check in checks:
        if check is check_dynamodb_balances and not settings.dynamodb_url:
            continue
        try:
            results.append(check(evidence))
        except (httpx.HTTPError, KeyError, ValueError, OSError) as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            results.append(Check(name, "an answer", f"{type(error).__name__}: {error}", ok=False))
    return results


def missing_topics(settings: Settings) -> set[str]:
    """Topics that verify reads and that do not exist."""
    wanted = {"payments", "payments-valid", "payments-dlq", "journal", "balances", "volumes", "cashback", "alerts"}
    wanted |= {"ledger-replays", "refunds-waiting"}
    return wanted - topic_names(settings.kafka_bootstrap)
