"""Keep the operator's records, without FLARE: who takes part, with which certificate and which version.

Reading order: ``participants``, ``plan`` (what has to be made), ``inventory`` and ``status``, ``invitation``,
``request``, ``authority``, ``revocation`` and ``crl``, ``templates``, ``stamp``, ``folder``, ``fingerprint``;
``network/``.

Invariant: a private key never leaves the machine that uses it, unless the operator asks for central kits.
"""
