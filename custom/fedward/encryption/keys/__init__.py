"""The federation's key and a hospital's own: made, kept in files, sent in a sealed box, replaced, destroyed."""
