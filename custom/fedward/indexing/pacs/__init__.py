"""From a hospital's archive (PACS) to de-identified files: ``fedward site index --pacs`` and the doctor's question.

``archive`` says what an archive is; ``dimse``, ``get_move`` and ``web`` are the three ways to it; ``deidentify`` with
the table in ``profile`` stands between every way and the disk; ``store`` is the disk; ``fetch`` runs it all.
"""

from __future__ import annotations

from fedward.settings import Pacs


def echo(pacs: Pacs) -> None:
    """Ask the archive whether it is there and lets us in: C-ECHO, or one QIDO-RS question for one study.

    Raises:
        CohortError: where, what is wrong and what to do: no address, refused, no answer, AE title not known, not let
            in, certificate not trusted.
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
