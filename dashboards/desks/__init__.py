"""The console's desks: a module each.

To add a desk:

1. Write ``desks/<name>.py`` with ``routes(console) -> APIRouter``. Every route of the desk is in this one router, so
   that who guards the desk guards the router. What changes something is a ``POST`` form with
   ``{{ parts.csrf_field() }}``.
2. Name it in ``DESKS`` below: its place on the rail, its path, its live panels. The rail shows ``nav.<name>``, which
   ``messages.yaml`` has in both languages.
3. Write its templates. A page extends ``base.html.j2`` and is rendered by ``console.pages.page(request, template,
   desk="<name>", ...)``. A live page extends ``live.html.j2``, is given ``console.live.panels(view_of(request),
   "<name>")`` as ``panels`` and places ``{{ panel("<panel>") }}``. Each panel is ``panels/<panel>.html.j2``, gets the
   ``board`` and begins with ``parts.head``, which tells how fresh it is; ``parts.nothing`` is what it shows when there
   is nothing, when it is late, or when its source is down. What a panel shows is polled (``sources/catalogue.py``),
   never asked while a page is rendered: ``board.answers["<source>"].value``.
4. A list is a ``Listing`` (``listing.py``) and a source that answers it: ``list_routes`` makes its page and the same
   address as ``.json``, ``.csv`` and ``.parquet``; its filters, order and place are in the address. Rows that are all
   at hand are answered by ``select``. ``alerts.py`` is the example.
"""

from __future__ import annotations

from dashboards.console import Desk
from dashboards.desks import alerts, ledger, live, operations, payments

DESKS: tuple[Desk, ...] = (
    Desk(
        "live",
        "/",
        live.routes,
        ("banner", "kpis", "pace", "flow", "intake", "payments", "balances", "alerts", "campaigns"),
    ),
    Desk("payments", "/payments", payments.routes),
    Desk("alerts", "/alerts", alerts.routes),
    Desk("ledger", "/ledger", ledger.routes, ("banner", "books", "trial", "lanes", "seals")),
    Desk("operations", "/operations", operations.routes, ("banner", "flow", "intake", "components", "letters")),
)
"""In the order of the rail."""
