"""Which numbers may leave a hospital: its list, rounding, minimum counts and suppression."""
