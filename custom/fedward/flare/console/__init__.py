"""What FLARE's console may do at the server: sessions bound to a certificate, uploads, downloads."""
