"""``fedward site …``: one file a verb, for hospital IT and privacy officers."""
