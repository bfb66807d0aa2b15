"""The command line, ``fedward <noun> <verb>``: a folder a noun, a file a verb.

Reading order: ``job``, ``site``, ``federation``, then ``key``, ``demo``, ``dashboard``; ``output_format`` is
``--format``.

Invariant: a command parses, calls one function of another room, and prints; it holds no rule of its own. Heavy
libraries are imported inside the command that needs them, so that ``fedward --help`` stays quick.
"""
