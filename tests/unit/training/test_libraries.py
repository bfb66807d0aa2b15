"""Check that the libraries load in the background, and that leaving parts of them out changes no result."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from fedward.settings import Training
from fedward.training import libraries
from fedward.training.optimizers import build_optimizer

OPTIMIZERS = ("SGD", "Adam", "AdamW")
LOADED = """
import sys
from fedward.training import libraries
libraries.begin()
libraries.begin()
libraries.ready()
assert "monai" in sys.modules and not any(name.split(".")[0] in ("nibabel", "sklearn") for name in sys.modules)
assert "scipy.signal" not in sys.modules
import sklearn, scipy.signal, pydicom, nibabel
from fedward.dataset.transforms import TRANSFORMS
import monai.transforms
assert all(hasattr(monai.transforms, name) for name in TRANSFORMS)
"""
STEP = """
import sys, torch
from fedward.settings import Training
from fedward.training.optimizers import build_optimizer
weight = torch.nn.Parameter(torch.ones(3))
training = Training.model_construct(optimizer={kind!r}, lr=0.1, momentum=0.9, weight_decay=0.01)
optimizer = build_optimizer(training, [weight])
optimizer.load_state_dict(optimizer.state_dict())
weight.square().sum().backward()
optimizer.step()
optimizer.zero_grad()
assert not any(name.startswith(("torch._dynamo", "sympy")) for name in sys.modules), "the compiler was imported"
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_jobs_libraries_are_there_and_others_only_when_they_are_imported_by_name() -> None:
    run(LOADED)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_steps_import_no_compiler(kind: str) -> None:
    run(STEP.format(kind=kind))


def test_ready_without_begin_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_loading", None)
    libraries.ready()


def test_a_library_is_absent_for_one_thread_only() -> None:
    found: list[bool] = []

    def other() -> None:
        import colorsys  # noqa: F401

        found.append(True)

    sys.modules.pop("colorsys", None)
    with libraries.without(["colorsys"]):
        with pytest.raises(ModuleNotFoundError, match="colorsys"):
            import colorsys  # noqa: F401
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [True]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_steps_equal_those_of_torch(kind: str) -> None:
    """Torch's own step runs in a fresh process; both start from the same weights and gradients."""
    training = Training.model_construct(optimizer=kind, lr=0.1, momentum=0.9, weight_decay=0.01)
    theirs = {
        "SGD": "torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01)",
        "Adam": "torch.optim.Adam([w], lr=0.1, weight_decay=0.01)",
        "AdamW": "torch.optim.AdamW([w], lr=0.1, weight_decay=0.01)",
    }[kind]
    code = (
        "import torch\nw = torch.nn.Parameter(torch.linspace(-1, 1, 7))\n"
        f"o = {theirs}\n"
        "for _ in range(3):\n    o.zero_grad()\n    w.pow(3).sum().backward()\n    o.step()\n"
        "print(w.detach().numpy().tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    weight = nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = build_optimizer(training, [weight])
    for _ in range(3):
        optimizer.zero_grad()
        weight.pow(3).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert weight.detach().numpy().tobytes().hex() == done.stdout.strip()
    assert weight.grad is not None
