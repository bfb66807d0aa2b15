"""Which messages a FLARE process takes: channels, topics, headers, senders, streams."""
