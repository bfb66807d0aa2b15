"""Build a cohort from a hospital's images: quality gate, pseudonyms, split, manifest, quarantine.

Reading order: ``index`` (the whole run), ``walk``, ``workers``, ``quality``, ``assemble`` (slices -> volume),
``match_masks``, ``labels``, ``site_key`` (pseudonyms and split), ``quarantine``, ``summary``; ``pacs/`` fetches from
an archive.

Invariant: an image that is not certainly usable is quarantined with a reason; the others continue.
"""
