"""The gate: what comes in from outside is checked, put in order and made unique, before any stage reads it."""
