"""Make a model's release dossier: the facts that a hospital's board reads before it signs.

Reading order: ``dossier``, ``page``.
"""
