"""The federation's key: made by one hospital, sent in sealed boxes, kept in a file, replaced, destroyed.

Reading order: ``key``, ``key_file``, ``site_identity``, ``sealed_box``, ``old_keys``.

Invariant: the server's operator carries sealed boxes and can open none.
"""
