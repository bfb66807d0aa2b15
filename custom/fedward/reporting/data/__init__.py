"""A report's data: dataclasses, and the functions that fill them from a job's events.

Reading order: ``from_events``, ``report``, then one file a part of the report.
"""
