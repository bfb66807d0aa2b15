"""``fedward job …``: one file a verb, for the data scientist."""
