"""The public HTTP API: JSON under ``/v1``, described by ``/v1/openapi.json``. Ids are strings, amounts whole yen."""
