"""Read an archive's lists to their end, and hold them against the numbers that the archive itself states.

``pages`` reads a list that comes in pages (QIDO-RS); ``held`` counts what a list lacks;
``refused`` writes down what did not come.
"""
