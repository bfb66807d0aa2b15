"""Define the commands with which a job is written: what it may name, and a job from a MONAI bundle."""
