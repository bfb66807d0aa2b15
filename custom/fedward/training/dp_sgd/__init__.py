"""DP-SGD by patient: who is drawn, how each gradient is clipped, and what noise is added (Abadi et al. 2016)."""
