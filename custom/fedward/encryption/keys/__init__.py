"""Create the federation's key in one hospital, send it in sealed boxes, keep it in a file, replace and destroy it.

Reading order: ``key``, ``key_file``, ``site_identity``, ``sealed_box``, ``old_keys``.

Invariant: the server's operator carries sealed boxes and can open none.
"""
