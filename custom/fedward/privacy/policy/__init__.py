"""A job against a hospital's policy: its canonical form and hash, agreement, approvals, linter, summary and cost."""
