"""`fedward <noun> …`, one thin module a noun."""
