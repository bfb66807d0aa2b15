"""Requests that the doctor sends from a FLARE cell, and jobs that nobody may take."""
