"""Keep a hospital's privacy ledger: the use of each patient's images, and the ε that it adds up to.

Reading order: ``hash_chain``, ``chain_store``, ``chain_head`` (entries that nobody can change unnoticed),
``io_faults``, ``charges``, ``ledger``, ``spending`` (ε per patient), ``run_record`` and ``runs``, ``statement`` (for
people), ``site_file``.

Invariant: a charge is on disk before training begins, and only steps that never began are given back.
"""
