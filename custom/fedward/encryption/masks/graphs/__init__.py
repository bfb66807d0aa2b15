"""Which hospitals mask with each other, which hold shares, and how many must help: the bounds of secure aggregation."""
