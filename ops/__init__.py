"""The `koban` command: engines, demo, verify, bench, drill."""
