"""The peer's train step: AdamW in the published groups, schedule, clipping, and the teacher's average."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from benchmarks.peer.losses import Contrastive, distillation
from benchmarks.peer.model import LEVELS, PeerModel


class PeerBatch(NamedTuple):
    """What a collate function gives: pictures [N, 3, P, P], ids [N, L] and owners [N], by level."""

    images: Mapping[str, torch.Tensor]
    ids: Mapping[str, torch.Tensor]
    owners: Mapping[str, torch.Tensor]  # the scene of each object and relation


def published_decay(step: int, decay: float = 0.9995, warmup_steps: int = 2000) -> float:
    """The teacher's decay; a linear warm-up, since the published one's shape isn't known."""
    return decay * min(1.0, step / warmup_steps)


class Trainer:
    """Model, losses, teacher and optimizer.

    Args:
      model: the student.
      steps: of the whole run, for the schedule.
      peak: the highest learning rate.
      decay: the teacher's, by step.
      teacher: default: a copy of the student.
      dtype: of the products in the towers, by autocast; None: float32.
      compiled: whether the towers go through `torch.compile`.
    """

    def __init__(
        self,
        model: PeerModel,
        *,
        steps: int,
        peak: float = 2e-5,
        warmup_fraction: float = 0.1,
        decay: Callable[[int], float] = published_decay,
        teacher: PeerModel | None = None,
        dtype: torch.dtype | None = None,
        compiled: bool = False,
    ):
        self.model, self.decay, self.steps_done, self.dtype = model, decay, 0, dtype
        device = next(model.parameters()).device
        self.contrastive = nn.ModuleDict({level: Contrastive() for level in LEVELS}).to(device)
        self.teacher = (teacher or copy.deepcopy(model)).requires_grad_(False)
        self._student_run, self._teacher_run = self.model, self.teacher
        if compiled:
            self._student_run, self._teacher_run = map(torch.compile, (self.model, self.teacher))
        named = [
            (name, value)
            for module in (model, self.contrastive)
            for name, value in module.named_parameters()
            if value.requires_grad
        ]
        plain = [v for name, v in named if v.ndim < 2 and "logit_scale" not in name]
        decayed = [v for name, v in named if v.ndim >= 2 or "logit_scale" in name]
        self.parameters = [*plain, *decayed]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": 0.2},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=peak,
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=True,
        )
        warmup = max(1, round(steps * warmup_fraction))

        def factor(step: int) -> float:
            if step < warmup:
                return 1e-3 + (1 - 1e-3) * step / warmup
            return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        # Of frozen parameters the average is the parameter.
        pairs = zip(self.teacher.parameters(), model.parameters(), strict=True)
        self._averaged = [(mean, value) for mean, value in pairs if value.requires_grad]

    def losses(self, batch: PeerBatch) -> dict[str, torch.Tensor]:
        """Every loss of a batch; `total` is what is differentiated."""
        device = batch.images["global"].device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            student = self._student_run(batch.images, batch.ids)
            with torch.no_grad():
                # Only what the distillation reads.
                teacher = self._teacher_run(
                    {"global": batch.images["global"]},
                    {level: batch.ids[level] for level in batch.owners},
                )
        student, teacher = (
            tuple({level: x.float() for level, x in kind.items()} for kind in both)
            for both in (student, teacher)
        )
        losses = {
            f"{v}_contrastive": self.contrastive[v](student[0][v], student[1][v]) for v in LEVELS
        }
        losses["contrastive"] = sum(losses.values())
        losses["distill"] = distillation(student, teacher, batch.owners)
        losses["total"] = losses["contrastive"] + losses["distill"]
        return losses

    def step(self, batch: PeerBatch) -> dict[str, float]:
        """One optimizer step; returns losses, learning rate and gradient norm."""
        return {name: float(value) for name, value in self.advance(batch).items()}

    def advance(self, batch: PeerBatch) -> dict[str, torch.Tensor | float]:
        """As `step`, without waiting for the device: the figures stay where they are."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.losses(batch)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.schedule.step()
        self._average()
        self.steps_done += 1
        return {k: v.detach() for k, v in losses.items()} | {"lr": rate, "grad_norm": norm}

    @torch.no_grad()
    def _average(self) -> None:
        means, values = map(list, zip(*self._averaged, strict=True))
        torch._foreach_lerp_(means, values, 1 - self.decay(self.steps_done))

    def state_bytes(self) -> int:
        """Parameters, frozen ones included, teacher and optimizer state."""
        held = [
            *self.model.parameters(),
            *self.contrastive.parameters(),
            *self.teacher.parameters(),
        ]
        for moments in self.optimizer.state.values():
            held += [value for value in moments.values() if torch.is_tensor(value)]
        return sum(value.numel() * value.element_size() for value in held)
