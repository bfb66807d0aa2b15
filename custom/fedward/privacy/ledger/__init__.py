"""A hospital's privacy ledger: what each patient's images were used for, and the ε that it adds up to.

Reading order: ``hash_chain``, ``chain_store``, ``chain_head`` (entries that cannot be changed unseen), ``charges``,
``ledger``, ``spending`` (ε per patient), ``run_record`` and ``runs``, ``statement`` (for people), ``site_file``.

Invariant: a charge is on disk before training begins, and only what never began is given back.
"""
