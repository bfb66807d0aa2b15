"""A model's release dossier, as data and as a page to sign."""
