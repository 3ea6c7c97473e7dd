"""One payment's way through every stage: each record that speaks of it, with its place and its time."""
