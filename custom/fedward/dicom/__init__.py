"""Decode DICOM and NIfTI: headers, grey values, slice order, masks. One file in, arrays out; nothing is written."""
