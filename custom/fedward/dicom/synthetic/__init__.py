"""Make hospitals of synthetic patients as DICOM files, for the demo and the tests.

Reading order: ``hospital``, ``scanner``, ``chest``, ``files`` for radiographs; ``mri``, ``head`` for heads in MR.
"""
