"""Divide a hospital's patients into training and validation, once for all its cohorts and for good.

Reading order: ``sides`` (the rule), ``book`` (the file that keeps each patient's side).
"""
