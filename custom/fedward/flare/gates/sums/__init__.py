"""Sums of an encrypted job at one hospital: keys, sealing, opening, helping, comparing and confirming."""
