"""Compute distances between hospitals' models that nobody can read, so that the server can leave false ones out.

ByzSecAgg (Jahani-Nezhad, Maddah-Ali, Caire 2025, IEEE Transactions on Information Theory 71(8)) on a linear sketch of
each model in place of the whole model. After the masked uploads of a round are fixed, the server draws a sketch; every
hospital shares the sketch of its model among all hospitals; these compute shares of the pairwise distances; the server
decodes the distances, although some hospitals answer falsely, and chooses whose models are summed.

=========== ===================== ======================================================== =======================
message     from, to              content                                                  module
=========== ===================== ======================================================== =======================
sketch      server -> hospital    uploads of the round, seed of the sketch                 ``requests``
            hospital -> server    shares of the model's sketch, for each hospital          ``dealing``, ``dealt``
distances   server -> hospital    the shares for this hospital                             ``requests``
            hospital -> server    shares of the distances, in a lock                       ``holding``
=========== ===================== ======================================================== =======================

Reading order: ``sketch``, ``reed_solomon``, ``dealing``, ``holding``, ``decoding``, ``requests``, ``sketched_sum``.

Invariant: of an honest hospital's sketch the server and ``colluding`` hospitals learn its distances to the other
sketches, and the sum of the sketches that are summed with it.
"""
