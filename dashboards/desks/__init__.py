"""The console's desks: a module each.

To add a desk:

1. Write ``desks/<name>.py`` with ``routes(console) -> APIRouter``. All of its routes ask for the desk's right
   (``people.rights``: which roles have it). What changes something is a ``POST`` form with ``{{ parts.csrf_field() }}``
   on a route with ``dependencies=[requires(Right.X, records="noun:verb")]``: the form's token is checked, and the act
   is in the audit log before the route's code runs; ``people.guard.record`` adds what was before and after.
2. Name it in ``DESKS`` below: its place on the rail, its path, its right, its live panels. The rail shows
   ``nav.<name>``, which ``messages.yaml`` has in both languages.
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
from dashboards.desks import alerts, audit, ledger, live, operations, payments
from dashboards.people.rights import Right

_NOW = ("banner", "kpis", "pace", "flow", "intake", "payments", "balances", "alerts", "campaigns")

DESKS: tuple[Desk, ...] = (
    Desk("live", "/", live.routes, Right.LIVE_READ, _NOW),
    Desk("payments", "/payments", payments.routes, Right.PAYMENTS_READ),
    Desk("alerts", "/alerts", alerts.routes, Right.ALERTS_READ),
    Desk("ledger", "/ledger", ledger.routes, Right.LEDGER_READ, ("banner", "books", "trial", "lanes", "seals")),
    Desk("operations", "/operations", operations.routes, Right.OPERATIONS_READ, operations.PANELS),
    Desk("audit", "/audit", audit.routes, Right.AUDIT_READ),
)
"""In the order of the rail."""
