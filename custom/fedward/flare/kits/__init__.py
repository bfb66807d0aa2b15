"""Startup kits: made centrally or by each hospital, hardened, renewed."""
