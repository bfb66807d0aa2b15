"""Take the sites' answers of one round, and make the next model of them.

``round`` adds them; ``norms`` decides which updates in the clear are too long to count; ``signed_sum`` and ``members``
check who sealed a message before it is added.
"""
