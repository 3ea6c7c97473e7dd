"""The outside world behind one contract: stores and receivers."""
