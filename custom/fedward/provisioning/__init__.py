"""Who takes part, with which certificate and which version: what the operator keeps, without FLARE.

Reading order: ``participants``, ``plan`` (what has to be made), ``inventory`` and ``status``, ``invitation``,
``request``, ``authority``, ``revocation`` and ``crl``, ``templates``, ``stamp``, ``folder``, ``fingerprint``;
``network/``.

Invariant: a private key never leaves the machine that uses it, unless the operator asks for central kits.
"""
