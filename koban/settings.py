"""Settings: where the stores are and what the limits are. Read once, from ``KOBAN_*`` variables, and passed along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints and limits. The variable of a field is its name in capitals behind ``KOBAN_``."""

    data_dir: Path
    """Where a platform keeps its engines' data, logs and sockets."""
    kafka_bootstrap: str = "127.0.0.1:9092"
    """Kafka bootstrap servers."""
    opensearch_url: str = "http://127.0.0.1:9200"
    """OpenSearch's HTTP endpoint."""
    mysql_url: str = "mysql://root@127.0.0.1:3306/koban"
    """The MySQL database of the books."""
    dynamodb_url: str = ""
    """DynamoDB's endpoint for the read model of balances; without one there is none."""
    flink_url: str = "http://127.0.0.1:8081"
    """Flink's REST endpoint."""
    console_url: str = "http://127.0.0.1:8080"
    """Where the console listens."""
    oidc_issuer: str = ""
    """The OpenID Connect provider that people sign in to the console by; empty for passwords alone."""
    oidc_client_id: str = ""
    """The console's name at the provider. Its redirect address is `<console_url>/sign-in/oidc/back`."""
    oidc_client_secret: str = ""
    """The console's secret at the provider."""
    oidc_name_claim: str = "email"
    """The claim that holds the account's name. An `email` has to be verified."""
    session_s_max: int = 43_200
    """Who signed in to the console has to do so again after this long."""
    session_idle_s: int = 1_800
    """A session of the console ends after this long without a request."""
    lake_dir: Path
    """The folder of the Parquet lake."""
    metrics_port: int = 0
    """Loopback port of a worker's health and metrics pages; 0 takes a free one."""
    payment_partitions: int = 4
    """Partitions of every topic that is keyed by an account owner. Fixed for the life of a cluster."""
    kafka_replication_factor: int = 1
    """Copies of every partition. From 3 on, a write counts only when all but one of them have it."""
    event_bytes_max: int = 65_536
    """A larger event is dead-lettered."""
    event_depth_max: int = 16
    """A more deeply nested event is dead-lettered."""
    clock_ahead_s_max: int = 60
    """An event that happened later than this after it was sent is dead-lettered: its producer's clock is wrong."""
    duplicate_window_events: int = 2_000_000
    """How many of a partition's latest events the gate remembers to recognise duplicates."""
    batch_records_max: int = 10_000
    """A micro-batch holds at most this many records of one partition."""
    transaction_interval_ms: int = 50
    """Under a light load a lane commits at most this often; the first event after a pause does not wait."""
    commit_interval_ms: int = 500
    """Stages that are not exactly-once commit their offsets this often."""
    session_timeout_ms: int = 6_000
    """A worker that was not heard of for this long loses its lanes to the others."""
    group_instance: str = ""
    """A worker's own name, that no other worker of its stage has: started again under it within the session's time, it
    goes on with its lanes at once. Empty: each start is a new member, and the lanes are divided anew."""
    stall_s_max: int = 60
    """A worker ends when records wait and none was worked on for this long; its supervisor starts it again."""
    ledger_checkpoint_s: int = 5
    """A ledger lane writes what changed to its store on disk this often; a restart reads the log from there on."""
    ledger_token: str = ""
    """Who shows it to a ledger worker is told how accounts stand; without one a worker tells nobody, and balances come
    from the book in MySQL alone."""
    ledger_late_days: int = 35
    """A payment's event may come this much later than it happened: what is known of a payment is forgotten so many days
    after its last refund could have been asked for. Business time, as the lane's payments tell it."""
    ledger_tombstone_days: int = 1_825
    """What was forgotten is known to have been for so long: a late refund is refused by its right name, and a payment
    sent again is not posted again. 9 bytes each."""
    seal_window_s: int = 3_600
    """A lane's journal and balances are sealed in windows of this length."""
    seal_grace_s: int = 90
    """A window without a later record is sealed so long after its end: longer than a transaction may take."""
    seal_interval_ms: int = 1_000
    """The sealer writes at most this often: nobody waits for it, and fewer, larger transactions cost less."""
    watermark_delay_s: int = 5
    """Event time waits this long for late events."""
    idle_partition_s: int = 60
    """A partition without events for so long no longer holds event time back. Longer than a stage in front may be down:
    had event time run on meanwhile, its events were late."""
    checkpoint_interval_s: int = 1
    """Flink jobs take a checkpoint this often; exactly-once output becomes visible with it."""
    lake_checkpoint_interval_s: int = 10
    """The lake's checkpoints: one Parquet file a checkpoint, so less often."""
    flink_parallelism: int = 1
    """Slots of the cluster that each job takes."""
    flink_python: str = "auto"
    """Where a job's Python runs: `thread` (in the TaskManager), `process` (beside it), or whichever Python allows."""
    volumes_state_days: int = 4
    """A minute of a merchant that saw no event for so long is forgotten: a later event would start its row anew."""
    campaign_lead_s: int = 5
    """A campaign is published at least this long before it starts, so that every stage knows it by then."""
    cashback_story_days: int = 400
    """How long a payment's cashback is remembered for its refunds, which come for up to 365 days."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings of an environment. Raises ValueError naming the variable that does not fit."""
        values: dict[str, object] = {}
        for name, kind in get_type_hints(cls).items():
            text = environ.get(f"KOBAN_{name.upper()}")
            if text is None:
                continue
            try:
                values[name] = kind(text)
            except ValueError as error:
                raise ValueError(f"KOBAN_{name.upper()}={text!r}: expected {kind.__name__}") from error
        data_dir = values.setdefault("data_dir", _default_data_dir(environ))
        assert isinstance(data_dir, Path)
        values.setdefault("lake_dir", data_dir / "lake")
        return cls(**values)  # type: ignore[arg-type]  # each value was made by its field's own type

    def environ(self) -> dict[str, str]:
        """The variables that give these settings again; what a child process is started with."""
        return {f"KOBAN_{name.upper()}": str(getattr(self, name)) for name in self.__struct_fields__}


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME") or f"{environ.get('HOME', '.')}/.local/share"
    return Path(base) / "koban" / "default"
