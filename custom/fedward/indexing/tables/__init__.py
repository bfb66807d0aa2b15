"""Read a table of the hospital line by line: cells, identifiers and their spellings, and an account of every line."""
