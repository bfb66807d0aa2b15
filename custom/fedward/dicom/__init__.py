"""Decode DICOM and NIfTI files into arrays: headers, grey values, slice order, masks.

Reading order: ``header``, ``pixels`` with its parts ``bits``, ``colour``, ``lut``, ``grey`` and ``verdict``, then
``geometry``, ``image``, ``masks``, ``nifti``; ``synthetic/`` makes hospitals for tests.

Invariant: one file in, arrays out, nothing written; a file that cannot be decoded with certainty raises ``StudyError``.
"""
