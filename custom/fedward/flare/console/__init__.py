"""FLARE's console at the server: sessions, uploads, downloads."""
