"""The gate's rules: what an event from outside must be before any stage may read it."""
