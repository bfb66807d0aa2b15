"""Check every message between FLARE's processes before FLARE reads it.

Reading order: ``guard``, ``rules`` with ``allowed`` (the closed list) and ``cells`` (names), ``header_forms``,
``stream_guard`` and ``stream_slots`` (bounds), ``site_requests``, ``site_door``, ``refusal_log``.

Invariant: a message that is on no list does not reach FLARE.
"""
