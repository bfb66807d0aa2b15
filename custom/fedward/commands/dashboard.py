"""Define ``fedward dashboard``: the metrics service and its pages, for the server's operator."""

from __future__ import annotations

from pathlib import Path

import typer


def dashboard(
    store: Path = typer.Argument(..., metavar="STORE", help="The server's metrics.db, or the server's kit folder."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; another than loopback needs a token over TLS."),
    port: int = typer.Option(8600, min=0, max=65_535, help="0 takes a free one."),
    token_file: Path | None = typer.Option(None, help="File with the token; no one but its owner can read it."),
    certificate: Path | None = typer.Option(None, help="The service's TLS certificate, with its chain, as PEM."),
    key: Path | None = typer.Option(None, help="The certificate's key, as PEM."),
    keep_days: float | None = typer.Option(
        None, min=1, help="Delete jobs whose last event is older than this. None keeps them."
    ),
) -> None:
    """Show sites and jobs live; serve /metrics to Prometheus. Runs until Ctrl-C."""
    from fedward.dashboard.serve import serve
    from fedward.dashboard.store_handle import store_at

    path = store_at(store)
    if not path.exists():
        typer.echo(f"{path}: no store yet; the first job makes it", err=True)
    serve(
        path,
        host=host,
        port=port,
        token_file=token_file,
        certificate=certificate,
        key=key,
        keep_days=keep_days,
        log=typer.echo,
    )
