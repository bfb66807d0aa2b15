"""Write a job from the configuration of a MONAI bundle: its network, loss, optimizer and transforms, as data.

Nothing of a bundle is run or evaluated. Reading order: ``config`` (files, references, faults), ``axes`` (MONAI's order
of axes and Fedward's), ``network``, ``training`` and ``transforms`` (a part each), ``job`` (the whole), ``start`` (the
weights), ``write`` (the folder).
"""
