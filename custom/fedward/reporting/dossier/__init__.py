"""A model's release dossier: what a hospital's board reads before it signs.

Reading order: ``dossier``, ``page``.
"""
