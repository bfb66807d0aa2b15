"""Federated learning for hospitals on NVIDIA FLARE, where each hospital's own policy decides what leaves it."""

__version__ = "0.1.0"
