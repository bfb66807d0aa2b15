"""Harmless requests that must be refused: what is sent to the server, to the site, and what an answer shows."""
