"""Losses on logits (batch, classes): labels for teacher and descendant, distillation for the aux net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from tleg_cli.config import Distillation

# (logits, images, targets) -> loss; images: normalised (batch, 3, size, size); targets: (batch, classes), rows sum to 1
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def label_loss(logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets (smoothing and mixup are already in them), mean over the batch."""
    return F.cross_entropy(logits.float(), targets)


def distillation_loss(logits: Tensor, teacher_logits: Tensor, targets: Tensor, how: Distillation) -> Tensor:
    """(1 - alpha) * label loss + alpha * the distance to the teacher (TLEG, eq. 4; Hinton et al. 2015; DeiT for "hard").

    soft: tau^2 * KL(softmax(teacher / tau) || softmax(student / tau)), divided by the batch ("batchmean") or, as in the
    reference code, by batch * classes ("elements"). hard: cross-entropy with the teacher's decision.
    """
    student, teacher = logits.float(), teacher_logits.float()
    if how.kind == "hard":
        distance = F.cross_entropy(student, teacher.argmax(dim=1))
    else:
        tau = how.temperature
        log_student = F.log_softmax(student / tau, dim=1)
        log_teacher = F.log_softmax(teacher / tau, dim=1)
        summed = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * tau**2
        distance = summed / (len(student) if how.reduction == "batchmean" else student.numel())
    if how.alpha == 1:
        return distance
    return (1 - how.alpha) * F.cross_entropy(student, targets) + how.alpha * distance


@dataclass(frozen=True)
class Distilled:
    """The objective of stage 1. teacher: images -> logits (batch, classes), without gradient."""

    teacher: Callable[[Tensor], Tensor]
    how: Distillation

    def __call__(self, logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Asks the teacher."""
        return self.against(logits, self.teacher(images), targets)

    def against(self, logits: Tensor, teacher_logits: Tensor, targets: Tensor) -> Tensor:
        """With what the teacher has said already."""
        return distillation_loss(logits, teacher_logits, targets, self.how)
