"""A hospital's privacy ledger: a hash chain of charges and runs on disk, and the ε that it adds up to."""
