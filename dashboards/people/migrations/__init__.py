"""Alembic's migrations of people's tables: a file a step, applied in order, each once."""
