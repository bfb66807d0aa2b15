"""report.json -> report.html."""
