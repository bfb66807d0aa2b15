"""What happened in a job, as it happens: one store that reports, dashboards and progress bars read."""
