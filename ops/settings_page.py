"""``docs/settings.md`` from the settings themselves: ``python -m ops.settings_page`` writes it, a test checks it."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from pathlib import Path

from koban import settings
from koban.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
INTRODUCTION = """# Settings

Every setting is an environment variable. A running platform writes the endpoints of its engines to `platform.json` in
its data directory; a variable that is set wins over it. Generated from `koban/settings.py`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The page's text: one row a field of Settings, in their order."""
    meanings = _meanings()
    rows = []
    for name in Settings.__struct_fields__:
        default = _DEFAULTS.get(name, "")
        rows.append(f"| `KOBAN_{name.upper()}` | {default} | {meanings.get(name, '')} |")
    return INTRODUCTION + "\n".join(rows) + "\n"


def _meanings() -> dict[str, str]:
    """Field → the text below it in the class."""
    tree = ast.parse(inspect.getsource(settings))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings")
    found: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _defaults() -> dict[str, str]:
    built = Settings(data_dir=Path("~/.local/share/koban/default"), lake_dir=Path("<data_dir>/lake"))
    return {name: f"`{getattr(built, name)}`" for name in Settings.__struct_fields__}


_DEFAULTS = _defaults()

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
