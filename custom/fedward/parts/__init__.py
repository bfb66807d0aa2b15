"""Describe the networks, losses, transforms and optimizers that a job may name, with their arguments.

Reading order: ``part`` (the answer's form), ``tables`` (one function for each table), ``text`` (for a terminal),
``about`` (a phrase for each part, by hand).
"""
