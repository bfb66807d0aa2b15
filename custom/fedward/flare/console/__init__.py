"""Restrict FLARE's console at the server: sessions bound to a certificate, uploads, downloads."""
