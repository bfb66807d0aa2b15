"""A hospital's two gates: what the server sends in, and what the hospital lets out."""
