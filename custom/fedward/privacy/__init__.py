"""What keeps a patient hidden: clip, noise, accounting, the ledger, and what may pass a hospital's door. No nvflare."""
