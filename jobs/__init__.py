"""Flink jobs and how a Flink environment is made."""
