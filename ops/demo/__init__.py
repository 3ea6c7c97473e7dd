"""The demo: everything started, money moving, and at the end the proof."""
