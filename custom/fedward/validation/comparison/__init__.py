"""Compare sites and models: which site the model serves worse, by how much, and why.

Reading order: ``sites``, ``effect_size``, ``paired_difference``, ``site_facts``, ``diagnosis``, ``label_noise``,
``contribution``.
"""
