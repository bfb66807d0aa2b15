"""Compute distances between hospitals' models that nobody can read, so that the server can leave false ones out.

ByzSecAgg (Jahani-Nezhad, Maddah-Ali, Caire 2025, IEEE Transactions on Information Theory 71(8)) on a linear sketch of
each model in place of the whole model. After the masked uploads of a round are fixed, the server draws a sketch; every
hospital shares the sketch of its model among all hospitals; these check what was dealt, and compute shares of the
pairwise distances; the server decodes the distances, although some hospitals deal or answer falsely, and chooses whose
models are summed.

=========== ===================== ======================================================== =======================
message     from, to              content                                                  module
=========== ===================== ======================================================== =======================
sketch      server -> hospital    uploads of the round, seed of the sketch                 ``requests``
            hospital -> server    shares of the model's sketch, for each hospital          ``dealing``, ``packages``
check       server -> hospital    hashes of all shares, and the shares for this hospital   ``requests``
            hospital -> server    values by which they are checked, signed                 ``checking``
distances   server -> hospital    these values of all hospitals                            ``requests``
            hospital -> server    shares of the distances, in a lock                       ``comparing``
=========== ===================== ======================================================== =======================

Reading order: ``sketch``, ``field``, ``reed_solomon``, ``dealing``, ``packages``, ``checking``, ``comparing``,
``requests``, ``sketched_sum``.

Invariant: of an honest hospital's sketch the server and ``colluding`` hospitals learn its distances to the other
sketches, of which those that collude choose theirs as they like, and the sum of the sketches that are summed with it.
A distance is one number of the field. For this an honest hospital

* answers one request of each kind for one upload of its own, and each names all that it rests on;
* computes only with dealers whose shares lie, with those of the others, on the polynomials that they should, by values
  that every hospital signed; and its answer opens only with those of hospitals that saw the same values.
"""
