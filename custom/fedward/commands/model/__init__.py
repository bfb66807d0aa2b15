"""``fedward model …``: take a finished job's model to where it is used."""
