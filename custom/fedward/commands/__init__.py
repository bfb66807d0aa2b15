"""Define the command line, ``fedward <noun> <verb>``: a folder for each noun, a file for each verb.

Reading order: ``job``, ``site``, ``federation``, then ``key``, ``demo``, ``dashboard``; ``output_format`` defines
``--format``.

Invariant: a command parses, calls one function of another package, and prints; it contains no other rule. Heavy
libraries are imported inside the command that needs them, so that ``fedward --help`` stays quick.
"""
