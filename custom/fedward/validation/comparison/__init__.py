"""Compare sites and models: which site is served worse, why, by how much, and what each site contributed."""
