"""The server's side of a job: broadcast, rounds, finalization."""
