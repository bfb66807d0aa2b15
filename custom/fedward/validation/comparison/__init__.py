"""Compare sites and models: find sites that the model serves worse, by how much, and possible causes.

Reading order: ``sites``, ``effect_size``, ``paired_difference``, ``site_facts``, ``diagnosis``, ``label_noise``,
``contribution``.
"""
