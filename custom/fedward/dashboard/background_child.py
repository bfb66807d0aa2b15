"""Serve the dashboard on loopback until standard input ends; print its address as the first line.

``fedward.dashboard.background`` starts it, as ``python -m fedward.dashboard.background_child STORE PORT``.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from fedward.dashboard.serve import Service, serve
from fedward.errors import FedwardError


def main() -> None:
    """Serve until the starting process ends. Exit codes: 0 done, 1 refused."""
    store, port = sys.argv[1:]
    try:
        serve(Path(store), port=int(port), begun=_end_with_the_starter)
    except FedwardError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def _end_with_the_starter(service: Service) -> None:
    def wait() -> None:
        sys.stdin.read()
        service.should_exit = True

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
