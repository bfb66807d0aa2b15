"""What is wrong with a job, found without a hospital's data: each part built, one zero image through the whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.data import set_track_meta
from monai.transforms import Compose

from fedward.dataset.transforms import Item, Standardise, build_stage
from fedward.errors import JobError
from fedward.settings import JobSpec
from fedward.training.losses import build_loss, kind_of_truth
from fedward.training.networks import build_network, predict


def check_job(job: JobSpec) -> list[str]:
    """Every fault found in one pass, as lines that say what, where and the remedy; empty for a job that can be built.

    Built and tried are: network, loss, transforms of both stages, then a pass forward and backward over a batch of
    blank images of ``data.size``.
    """
    faults: list[str] = []
    for part in (_transforms, _network_and_loss, _rounds):
        try:
            part(job)
        except JobError as error:
            faults.append(str(error))
            if part is _network_and_loss:
                faults += [str(other) for other in _faults_after(job, error)]
    return faults


def _faults_after(job: JobSpec, first: JobError) -> list[JobError]:
    """A bad network hides a bad loss: look at the loss as well."""
    try:
        build_loss(job)
    except JobError as error:
        return [error] if str(error) != str(first) else []
    return []


def _network_and_loss(job: JobSpec) -> None:
    network, size = build_network(job), tuple(job.data.size)
    loss = build_loss(job)
    images = torch.zeros((2, 1, *size))
    try:
        logits = predict(network.train(), images)
    except Exception as error:  # noqa: BLE001 - a network raises many kinds for a size that it cannot work with
        what = f"network {job.model.network} fails on an image of {list(size)}, {_short(error)}"
        raise JobError(what, where="data.size", remedy="choose sides that are multiples of 16 or 32") from None
    wanted = (2, job.outputs, *size) if job.job.task == "segmentation" else (2, job.outputs)
    found = tuple(getattr(logits, "shape", ()))
    if found != wanted:
        what = f"network {job.model.network} puts out {list(found)} where the job needs {list(wanted)}"
        raise JobError(what, where="model.args", remedy="change its arguments or data.size")
    try:
        loss(logits, _truth(job)).backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - a loss raises many kinds for arguments that do not fit
        what = f"loss {job.training.loss.name} fails, {_short(error)}"
        raise JobError(
            what, where="training.loss.args", remedy="see the loss's page in MONAI's documentation"
        ) from None


def _transforms(job: JobSpec) -> None:
    size = tuple(job.data.size)
    set_track_meta(False)
    try:
        for stage in ("prepare", "augment"):
            chain = Compose([*build_stage(job, stage), Standardise()])
            ramp = torch.arange(float(torch.tensor(size).prod())).reshape(1, *size)
            item: Item = {"image": ramp, "mask": torch.zeros((1, *size), dtype=torch.uint8)}
            try:
                result = chain(item)
            except Exception as error:  # noqa: BLE001 - MONAI raises many kinds for arguments that do not fit
                what = f"the transforms fail on an image of {list(size)}, {_short(error.__cause__ or error)}"
                raise JobError(what, where=f"transforms.{stage}", remedy="correct their arguments") from None
            for key in ("image", "mask"):
                if tuple(result[key].shape) != (1, *size):
                    what = f"the transforms change the {key}'s shape to {list(result[key].shape)[1:]}"
                    raise JobError(what, where=f"transforms.{stage}", remedy=f"keep it at {list(size)}")
    finally:
        set_track_meta(True)


def _rounds(job: JobSpec) -> None:
    if job.training.optimizer != "SGD" and "momentum" in job.training.model_fields_set:
        raise JobError(
            f"momentum is for SGD, not for {job.training.optimizer}", where="training.momentum", remedy="leave it out"
        )


def _truth(job: JobSpec) -> torch.Tensor:
    makers: dict[str, Callable[[], torch.Tensor]] = {
        "binary": lambda: torch.tensor([[0.0], [1.0]]),
        "multilabel": lambda: torch.eye(2, len(job.data.labels)),
        "multiclass": lambda: torch.tensor([0, 1]),
        "segmentation": lambda: torch.ones((2, 1, *job.data.size), dtype=torch.uint8),
    }
    return makers[kind_of_truth(job)]()


def _short(error: BaseException) -> str:
    return f"{type(error).__name__} {str(error).splitlines()[0][:160] if str(error) else ''}"
