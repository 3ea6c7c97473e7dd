"""The Flink jobs, and the keeper that keeps each of them running, once."""
