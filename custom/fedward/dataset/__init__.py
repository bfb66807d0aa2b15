"""Cohort manifest -> MONAI datasets."""
