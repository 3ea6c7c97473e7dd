"""The jobs' SQL, read from ``jobs/sql``: comments dropped, placeholders filled, one statement after another."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobs.catalogue import SQL_FOLDER

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def statements(file_name: str, values: Mapping[str, str]) -> list[str]:
    """The statements of ``jobs/sql/<file_name>.sql``. Raises KeyError for a placeholder without a value."""
    text = (SQL_FOLDER / f"{file_name}.sql").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    filled = _PLACEHOLDER.sub(lambda match: values[match[1]], "\n".join(lines))
    return [statement.strip() for statement in f"{filled}\n".split(";\n") if statement.strip()]
