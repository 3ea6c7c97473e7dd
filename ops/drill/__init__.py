"""Drills: a fault on purpose, the recovery timed, and the books proven afterwards."""
