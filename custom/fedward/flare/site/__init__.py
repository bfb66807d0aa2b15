"""A hospital's side of a job: the executor and its privacy."""
