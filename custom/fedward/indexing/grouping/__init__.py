"""Find what belongs together: files of one patient, slices of one volume, sequences of one study."""
