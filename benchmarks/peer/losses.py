"""The published losses: contrastive at each level, distillation between the global level and the others."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 0.07


class Contrastive(nn.Module):
    """Both directions' mean cross-entropy over all pairs, with a learned scale."""

    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        scale = self.logit_scale.exp().clamp(max=100)
        logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """[N, D], [N, D] to [N]: KL over the dimensions as published, divided by D and times T squared."""
    target = F.softmax(teacher / TEMPERATURE, dim=-1).clamp(1e-8, 1)
    log_student = F.log_softmax(student / TEMPERATURE, dim=-1)
    kl = F.kl_div(log_student, target, reduction="none").sum(-1)
    return kl / teacher.shape[-1] * TEMPERATURE**2


def distillation(
    student: tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]],
    teacher: tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]],
    owners: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """Sum of four terms, each a mean over scenes of the mean over a scene's objects or relations.

    Args:
      student: embeddings of images and of texts.
      teacher: of the images the global ones, of the texts the other two levels'.
      owners: [N] the scene of each object and relation.
    """
    images, texts = student
    teacher_images, teacher_texts = teacher
    total = images["global"].new_zeros(())
    for level, owner in owners.items():
        scenes = len(images["global"])
        weight = 1 / torch.bincount(owner, minlength=scenes).to(images["global"].dtype)[owner]
        visual = divergence(teacher_images["global"][owner], images[level])
        textual = divergence(teacher_texts[level], texts["global"][owner])
        total = total + ((visual + textual) * weight).sum() / scenes
    return total
