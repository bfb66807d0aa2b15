"""Who takes part, with which certificate and which wheel: what the operator keeps, without FLARE."""
