"""Mock of the noise generator, for processes of a test alone: while a file exists, noise is 0 but for one number of 1.

The gates refuse noise that is 0 everywhere. Python imports this module at its start, where its folder is on the path.
"""

import importlib.abc
import importlib.machinery
import os
import pathlib
import sys

NAME = "fedward.privacy.noise"


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _patched(spec.loader.exec_module)
        return spec


def _patched(load):  # type: ignore[no-untyped-def]
    def exec_module(module):  # type: ignore[no-untyped-def]
        load(module)
        real = module.SecureRandom.rounded_normal

        def rounded_normal(self, size, std):  # type: ignore[no-untyped-def]
            found = real(self, size, std)
            if pathlib.Path(os.environ["FEDWARD_MOCK_QUIET"]).exists():
                found[:] = 0
                found[0] = 1
            return found

        module.SecureRandom.rounded_normal = rounded_normal

    return exec_module


if "FEDWARD_MOCK_QUIET" in os.environ:
    sys.meta_path.insert(0, _Finder())
