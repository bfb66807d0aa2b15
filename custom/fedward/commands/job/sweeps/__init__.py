"""Define ``fedward job sweep``: ``sweep`` has the options, ``over_epsilon`` and ``search`` are its two questions."""
