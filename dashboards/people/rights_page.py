"""The table of ``docs/people.md``: ``python -m dashboards.people.rights_page`` writes it, a test checks it."""

from __future__ import annotations

from pathlib import Path

from dashboards.people.rights import ROLES
from dashboards.people.roles import Role

PAGE = Path(__file__).resolve().parents[2] / "docs/people.md"
BEGIN, END = "<!-- rights: generated -->\n", "<!-- end -->\n"


def table() -> str:
    """Right × role, a cross where the role has it."""
    roles = list(Role)
    lines = [f"| right | {' | '.join(roles)} |", f"|---|{'|'.join(':-:' for _ in roles)}|"]
    for right, having in ROLES.items():
        lines.append(f"| `{right}` | {' | '.join('x' if role in having else '' for role in roles)} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page's text with the table as it is today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
