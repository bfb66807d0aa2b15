"""A sweep over ε, as data, chart and page."""
