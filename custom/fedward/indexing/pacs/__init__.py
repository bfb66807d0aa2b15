"""Fetch images from a hospital's archive (PACS) as de-identified files; ``echo`` tests the connection.

``fedward site index --pacs`` runs ``fetch``; the doctor runs ``echo``. ``archive`` defines the interface; ``dimse``,
``get_move`` and ``web`` implement its three protocols. Every instance passes ``deidentify``, with the table in
``profile``, before ``store`` writes it to disk.
"""

from __future__ import annotations

from fedward.settings import Pacs


def echo(pacs: Pacs) -> None:
    """Check that the archive answers and admits this site: C-ECHO, or one QIDO-RS query for one study.

    Raises:
        CohortError: where, fault and remedy: no address, refused, no answer, unknown AE title, not admitted,
            certificate not trusted.
    """
    if pacs.protocol == "dicomweb":
        from fedward.indexing.pacs.web import WebArchive

        archive = WebArchive(pacs)
        try:
            archive.studies(limit=1)
        finally:
            archive.close()
        return
    from fedward.indexing.pacs import dimse

    dimse.echo(pacs)
