"""The embedded dashboard: one long-lived process beside the server that shows its metrics store and is scraped."""
