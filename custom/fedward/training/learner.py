"""Train one model at one site: its network, loss and optimizer, with the tensors that stay at the site."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cached_property, partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedward.dataset.batches import batches
from fedward.dataset.images import Images, stack
from fedward.errors import JobError
from fedward.settings import JobSpec
from fedward.training.dp_sgd.dp_sgd import MovingAverage, PrivateSteps, copy_buffers, same_buffers
from fedward.training.dp_sgd.gradient_method import choose_method
from fedward.training.dp_sgd.network_check import check_layers
from fedward.training.dp_sgd.patient_gradients import Method, Patient, trainable
from fedward.training.kept_state import KeptState, KeptStates
from fedward.training.losses import build_loss, kind_of_truth
from fedward.training.networks import build_network, predict, shared_keys
from fedward.training.optimizers import build_optimizer, learning_rate
from fedward.training.seeds import derive_seed, torch_seed
from fedward.training.windows import whole_logits
from fedward.weights import Weights


class Learner:
    """Network and optimizer over the rounds of one job.

    The object keeps from round to round the tensors that are not shared (FedBN's layers, integer buffers) and, with
    ``training.keep_optimizer``, the optimizer's momenta. ``kept`` holds both, for the last two rounds.
    """

    def __init__(self, job: JobSpec, *, site: str) -> None:
        self._job, self._site = job, site
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = build_network(job).to(self._device)
        self._loss = build_loss(job)
        self._shared = shared_keys(self._network, job)
        self._initial = {
            name: value.clone() for name, value in self._network.state_dict().items() if name not in set(self._shared)
        }
        self.kept = KeptStates(job)

    def train(
        self,
        weights: Mapping[str, NDArray[Any]],
        images: Images,
        *,
        steps: int,
        steps_a_pass: int,
        round_number: int,
        on_step: Callable[[int, float], None],
        private: PrivateSteps | None = None,
    ) -> float:
        """Train one round from ``weights`` and return the mean loss, without the FedProx term.

        The order of images, the augmentation and the dropout depend on the job's seed, the site and the round alone.
        With ``private`` all draws are secret, as DP-SGD requires. The learning rate changes within a round too.

        Args:
            weights: the shared tensors to start from.
            images: the training images.
            steps, steps_a_pass: optimizer steps in this round, and in one pass over the images.
            round_number: 0 for the job's first; those of the jobs before it are counted in.
            on_step: called after each step with its number, from 1, and its loss; an error from it stops the training.
            private: draws patients and makes private gradients in place of plain ones.

        Raises:
            JobError: weights of another network, a loss that is no longer finite, or a step for which the DP-SGD
                guarantee does not hold.
        """
        training = self._job.training
        self._load(weights)
        optimizer = self._optimizer()
        start = [p.detach().clone() for p in self._network.parameters()] if training.fedprox_mu else []
        losses: list[float] = []

        def follow(step: int, fill: Callable[[], float]) -> None:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, done=self._job.done(round_number, step / steps))
            losses.append(self._step(fill, optimizer, start))
            on_step(step + 1, losses[-1])

        if private is None:
            seed = derive_seed(self._job.job.seed, self._site, self._job.first_round + round_number)
            images.reseed(seed)
            with torch_seed(seed):
                for step, items in enumerate(images.batches(self._order(images, steps, steps_a_pass, seed))):
                    follow(step, partial(self._plain_gradients, items))
        else:
            self._train_private(private, images, steps=steps, follow=follow)
        self._keep(optimizer, round_number)
        return float(np.mean([loss for loss in losses if np.isfinite(loss)] or [np.nan]))

    def _order(self, images: Images, steps: int, steps_a_pass: int, seed: int) -> Iterator[NDArray[np.int64]]:
        return batches(
            len(images),
            steps=steps,
            steps_a_pass=steps_a_pass,
            seed=seed,
            repeats=self._job.data.draws,
            groups=images.groups if self._job.training.balanced else None,
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        """Return the round's optimizer, with the momenta of the round before where the job keeps them."""
        optimizer = build_optimizer(self._job.training, self._network.parameters())
        last = self.kept.last
        if last is not None and last.optimizer is not None:
            optimizer.load_state_dict(deepcopy(dict(last.optimizer)))  # the steps change what is loaded
        return optimizer

    def _keep(self, optimizer: torch.optim.Optimizer, round_number: int) -> None:
        """Keep what stays at the site after a round: its own layers, and the momenta where the job keeps them."""
        if not self.kept.needed:
            return
        state = self._network.state_dict()
        local = {name: state[name] for name in self._initial}
        momenta = optimizer.state_dict() if self._job.training.keep_optimizer else None
        self.kept.add(KeptState.copied(round_number, local, momenta))

    @property
    def _local(self) -> Mapping[str, Tensor]:
        """Tensors that are not shared, as after the last round that is kept."""
        return self._initial if self.kept.last is None else self.kept.last.local

    def _train_private(
        self,
        private: PrivateSteps,
        images: Images,
        *,
        steps: int,
        follow: Callable[[int, Callable[[], float]], None],
    ) -> None:
        network, buffers = self._network.train(), copy_buffers(self._network)
        decay = None if self._job.privacy.dp_sgd is None else self._job.privacy.dp_sgd.ema_decay
        average = None if decay is None else MovingAverage(decay)
        with torch_seed(secrets.randbits(63)):
            for step, patients in enumerate(private.patients(images, steps=steps, truth=self._truth_key)):
                on_device = (self._on_device(patient) for patient in patients)
                follow(step, partial(private.fill, network, self._loss, on_device))
                if average is not None:
                    average.add(network)
        same_buffers(network, buffers)
        if average is not None:
            average.put_into(network)

    @property
    def trained_values(self) -> int:
        """Number of values that a step changes."""
        return sum(parameter.numel() for parameter in trainable(self._network))

    def clipped_sum(
        self, weights: Mapping[str, NDArray[Any]], images: Images, *, private: PrivateSteps, steps: int
    ) -> tuple[dict[str, Tensor], float]:
        """Return the clipped sum of one step's drawn patients, and their mean loss; neither is protected.

        Args:
            weights: the shared tensors.
            images: the training images.
            private: draws the patients.
            steps: units of the grid in the clip.

        Returns:
            Whole numbers in float64 by trained tensor, and a loss, NaN where no patient was drawn.

        Raises:
            JobError: as ``train`` with DP-SGD.
        """
        self._load(weights)
        network, buffers = self._network.train(), copy_buffers(self._network)
        (patients,) = private.patients(images, steps=1, truth=self._truth_key)
        drawn = (self._on_device(one) for one in patients)
        first = next(drawn, None)
        if first is None:  # a step that draws nobody takes the time of one that draws somebody; its result is dropped
            somebody = self._on_device(private.somebody(images, truth=self._truth_key))
            private.clipped(network, self._loss, [somebody], steps=steps)
        them = () if first is None else chain([first], drawn)
        found = private.clipped(network, self._loss, them, steps=steps)
        same_buffers(network, buffers)
        names = [name for name, value in network.named_parameters() if value.requires_grad]
        return dict(zip(names, found.units, strict=True)), found.mean_loss

    @cached_property
    def method(self) -> Method:
        """Method that computes the patients' gradients of this network under DP-SGD; chosen once.

        Raises:
            JobError: the network mixes patients.
        """
        check_layers(self._network)
        return choose_method(self._network, self._loss, self._job)

    def weights(self) -> Weights:
        """Return the network's current shared tensors, names sorted."""
        return _arrays(self._network.state_dict(), self._shared)

    def everything(self) -> Weights:
        """Return the shared tensors and all floating ones that stay at the site, for this site's own use."""
        state = self._network.state_dict()
        return _arrays(state, [name for name in sorted(state) if state[name].is_floating_point()])

    def outputs(self, weights: Mapping[str, NDArray[Any]], images: Images) -> Iterator[tuple[list[Any], Tensor, float]]:
        """Yield for each batch the items, the logits on the CPU, and the sum of the items' losses."""
        self._load(weights)
        self._network.eval()
        at_once = EVALUATION_BATCH if self._job.data.patches is None else 1  # whole images may differ in size
        for items in images.batches(np.array_split(np.arange(len(images)), -(-len(images) // at_once))):
            with torch.inference_mode():
                logits = whole_logits(self._network, stack(items, "image").to(self._device), self._job.data)
                loss = self._loss(logits, self._truth(items))
            yield items, logits.float().cpu(), float(loss) * len(items)

    def _step(self, fill: Callable[[], float], optimizer: torch.optim.Optimizer, start: list[Tensor]) -> float:
        """Take one optimizer step on the gradients that ``fill`` writes plus the FedProx term; return the loss."""
        self._network.train()
        value = fill()
        for parameter, origin in zip(self._network.parameters(), start, strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - origin, alpha=self._job.training.fedprox_mu)
        optimizer.step()
        return value

    def _plain_gradients(self, items: list[Any]) -> float:
        self._network.zero_grad(set_to_none=True)
        half = self._job.training.mixed_precision and self._device.type == "cuda"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half):
            loss = self._loss(predict(self._network, stack(items, "image").to(self._device)), self._truth(items))
        value = float(loss.detach())
        if not np.isfinite(value):
            raise JobError(
                "the loss is no longer finite", where="training.lr", value=self._job.training.lr, remedy="lower it"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return value

    @property
    def _truth_key(self) -> str:
        return "mask" if kind_of_truth(self._job) == "segmentation" else "truth"

    def _truth(self, items: list[Any]) -> Tensor:
        return stack(items, self._truth_key).to(self._device)

    def _on_device(self, patient: Patient) -> Patient:
        return Patient(images=patient.images.to(self._device), truth=patient.truth.to(self._device))

    def _load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        missing = sorted(set(self._shared) - set(weights))
        if missing:
            remedy = "install the same version of Fedward everywhere and use one job.toml"
            raise JobError(
                "the model lacks a tensor of the job's network", where="weights", value=missing[0], remedy=remedy
            )
        given = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        try:
            self._network.load_state_dict({**self._local, **given})
        except RuntimeError as error:
            what = f"the model does not fit the job's network, {str(error).splitlines()[-1].strip()[:200]}"
            raise JobError(what, where="weights", remedy="use the job.toml that the model was trained with") from None


EVALUATION_BATCH = 32
"""Batch size in images for evaluation."""


def _arrays(state: Mapping[str, Tensor], names: Any) -> Weights:
    return {name: state[name].detach().cpu().numpy().copy() for name in names}
