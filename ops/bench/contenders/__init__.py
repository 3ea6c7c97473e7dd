"""Programs that race: each reads the same topic, does the same work, and prints what it cost and what it found."""
