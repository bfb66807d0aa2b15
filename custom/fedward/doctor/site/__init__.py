"""Checks of a site, one file a subject: each is a function ``Case`` -> findings."""
