"""Every metric of every process, read from where it is declared; ``python -m ops.observability.metrics`` lists them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("streams", "jobs", "dashboards", "ops/engines")
"""Where processes declare metrics."""
KINDS = ("Counter", "Gauge", "Histogram")
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_count", "_sum")}
"""What Prometheus puts behind the declared name."""
PREFIX = "koban_"
HEAD = """\
# Metrics

Every process of ours has `/metrics` beside `/-/live`, `/-/ready` and `/-/version`, on loopback. Names carry their unit;
no label is ever an id. Made by `python -m ops.observability.metrics`; a test holds it to the code.

| metric | kind | labels | what |
|---|---|---|---|
"""


class Metric(msgspec.Struct, frozen=True, order=True):
    """One declared metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    what: str
    file: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query may ask for."""
        if self.kind == "Counter":
            return (self.name.removesuffix("_total") + "_total",)
        return tuple(f"{self.name}{suffix}" for suffix in SUFFIXES[self.kind])


def declared(root: Path = ROOT) -> list[Metric]:
    """All of them, by name."""
    files = (file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py")))
    return sorted(metric for file in files for metric in _of(file, root))


def _of(file: Path, root: Path) -> Iterator[Metric]:
    tree = ast.parse(file.read_text("utf-8"))
    tuples = {
        target.id: _texts(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        kind = node.func.id.capitalize()  # the sealer's `gauge` makes one with a lane for a label
        if kind not in KINDS:
            continue
        texts = [argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)]
        if len(texts) < 2 or not str(texts[0]).startswith(PREFIX):
            continue
        third = node.args[2] if len(node.args) > 2 else None
        labels = tuples.get(third.id, ()) if isinstance(third, ast.Name) else _texts(third)
        if node.func.id == "gauge":
            labels = ("lane", *(str(each.value) for each in node.args[2:] if isinstance(each, ast.Constant)))
        place = file.relative_to(root).as_posix()
        yield Metric(str(texts[0]), kind, labels, str(texts[1]).rstrip("."), place)


def _texts(node: ast.expr | None) -> tuple[str, ...]:
    """The texts of a list or tuple of them; nothing for anything else."""
    if not isinstance(node, ast.List | ast.Tuple):
        return ()
    return tuple(str(each.value) for each in node.elts if isinstance(each, ast.Constant))


def page(metrics: list[Metric]) -> str:
    """The documentation."""
    rows = (
        f"| `{metric.series[0] if metric.kind == 'Counter' else metric.name}` | {metric.kind.lower()} |"
        f" {', '.join(metric.labels)} | {metric.what} |\n"
        for metric in metrics
    )
    return HEAD + "".join(dict.fromkeys(rows))


if __name__ == "__main__":
    sys.stdout.write(page(declared()))
