"""A consortium's model at a hospital that took no part: is it good enough here, and what a fine-tune would give."""
