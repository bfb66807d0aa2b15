"""A report's data: dataclasses, and the functions that fill them from a job's events."""
