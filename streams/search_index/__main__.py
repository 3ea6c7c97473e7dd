"""Runs the stage: ``python -m streams.search_index``, set up by ``KOBAN_*`` variables."""

from __future__ import annotations

import os

from koban.settings import Settings
from streams.search_index.app import search_index_app

if __name__ == "__main__":
    search_index_app(Settings.from_environ(os.environ)).main()
