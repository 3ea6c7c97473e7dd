"""What the JobManager's refusals are told as."""

from __future__ import annotations

import httpx
import pytest

from jobs.cluster import reason_of

TRACE = (
    "org.apache.flink.runtime.client.JobSubmissionException: Failed to submit job.\n"
    "\tat org.apache.flink.runtime.dispatcher.Dispatcher.submitJob\n"
    "Caused by: java.io.FileNotFoundException: no checkpoint at file:///chk-7\n\tat java.io.File\n"
)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(500, json={"errors": ["Internal server error.", TRACE]}), "no checkpoint at file:///chk-7"),
        (httpx.Response(400, json={"errors": ["Failed to deserialize JobGraph."]}), "Failed to deserialize JobGraph."),
        (httpx.Response(503, text="Service temporarily unavailable\nretry"), "Service temporarily unavailable"),
        (httpx.Response(500, json={"errors": []}), "status 500"),
        (httpx.Response(500, json=["odd"]), '["odd"]'),
    ],
)
def test_a_refusal_is_told_in_one_line_by_its_innermost_cause(answer: httpx.Response, reason: str) -> None:
    assert reason_of(answer).endswith(reason)
    assert "\n" not in reason_of(answer)
