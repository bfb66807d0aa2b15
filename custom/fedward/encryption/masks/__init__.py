"""Mask each hospital's sealed numbers, so that no other hospital can read them either, also with the server's help.

A job with ``scheme = "masked"`` has four kinds of message. Each hospital's key is for one run, and signed by its
certificate; one hospital makes the job's key, which hides even the sum from the server.

=========== ====================== =============================== ===================================================
message     from, to               content                         module
=========== ====================== =============================== ===================================================
admission   hospital -> server     public key, nonce, signature    ``agreement``
job key     a hospital -> server   the job's key, for each         ``job_key``
upload      hospital -> server     masked numbers, shares          ``site_masks``, ``upload``
unmasking   server -> hospital     hospitals in the sum, shares    ``unmask_message``
            hospital -> server     shares, opened                  ``unmask_message``, ``unmasking``
=========== ====================== =============================== ===================================================

Reading order: ``threshold``, ``shamir``, ``agreement``, ``graph``, ``seed_streams``, ``upload``, ``site_masks``,
``unmask_message``, ``unmasking``, ``job_key``, ``run_keys``.

Invariant: a hospital gives shares of a sum for one set of hospitals in it, and no share of a key exists.
"""
