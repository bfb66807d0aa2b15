"""Take the sites' answers of one round, and make the next model of them.

``round`` adds them, and ``norms`` decides which updates in the clear are too long to count.
"""
