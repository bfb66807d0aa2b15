"""Checks of a job before any process of it starts, at the server and at a site."""
