"""A person at a machine of their own: ``python -m tests.support.federation.person KIT JOB OUT SITES…``.

Signs in with the kit, waits until these sites are connected, submits the exported job, follows it to its end,
downloads the result, and prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fedward.flare.admin_session import Console, console

CONNECT_S = 90.0


def work(kit: Path, job: Path, out: Path, sites: Collection[str]) -> dict[str, Any]:
    with console(kit, timeout_s=CONNECT_S) as session:
        connected = await_all(session, sites)
        job_id = session.submit(job)
        status = session.wait(job_id, each=lambda: None)
        result = session.download(job_id, out)
        return {"job_id": job_id, "status": status, "result": str(result), "connected": sorted(connected)}


def await_all(session: Console, sites: Collection[str]) -> set[str]:
    """Wait until all ``sites`` are connected; returns who is."""
    end = time.monotonic() + CONNECT_S
    while not (connected := session.connected()) >= set(sites):
        if time.monotonic() > end:
            raise TimeoutError(f"not connected: {', '.join(sorted(set(sites) - connected))}")
        time.sleep(0.2)
    return connected


if __name__ == "__main__":
    kit, job, out, *sites = sys.argv[1:]
    print(json.dumps(work(Path(kit), Path(job), Path(out), sites)))
