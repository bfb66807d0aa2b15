"""``fedward federation …``: one file a verb, for the federation operator."""
