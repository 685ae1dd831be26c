"""How to learn from these pictures, where the settings leave it open: what `auto` becomes."""

from __future__ import annotations

import dataclasses
from typing import Final

from contract.hyperparameters import Settings

# A head alone learns what it can in about so many steps on features, which cost a thousandth of a network's.
_HEAD_STEPS: Final = 3000
_MOST_PASSES: Final = 30
# Pictures a class, on average, below which fine-tuning fits the noise and validation cannot tell.
FEW: Final = 20
# AdamW's steps do not depend on the size of the gradients, which in fine-tuning differs between layers and
# backbones by orders of magnitude. This share of a rate for SGD moves typical weights about as far.
_ADAMW_SHARE: Final = 1 / 50


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training does.

    Attributes:
        settings: without any `auto` but one: `freeze=auto` trains the head first.
        reason: what was chosen and why, as a sentence; empty where nothing was left open.
    """

    settings: Settings
    reason: str = ""


def choose(settings: Settings, *, pretrained: bool, storable: bool, pictures: int, classes: int) -> Recipe:
    """The recipe for `pictures` to learn from.

    Args:
        pretrained: whether the backbone has learned already.
        storable: whether the head can learn from stored features, see `train.features.storable`.
    """
    plain = dataclasses.replace(
        settings, optimizer="sgd" if settings.optimizer == "auto" else settings.optimizer
    )
    if settings.freeze != "auto":
        return Recipe(plain)
    if not (pretrained and storable):
        why = "its features do not fit in memory, or its head is no linear layer" if pretrained else ""
        return Recipe(
            dataclasses.replace(plain, freeze="none"),
            f"the whole network learns at once: {why}" if why else "",
        )
    if pictures < FEW * classes:
        return Recipe(
            dataclasses.replace(plain, epochs=1),
            f"only the head learns, in one epoch, whatever epochs={settings.epochs} says: {pictures} "
            f"pictures to learn from for {classes} classes are too few to change the backbone, below {FEW} a "
            "class; freeze=none lets all learn",
        )
    if settings.optimizer == "sgd":
        # Behind a head, its usual rates destroy a backbone whose norms keep their statistics.
        return Recipe(
            dataclasses.replace(plain, freeze="none"),
            "the whole network learns at once, with sgd as it is set (optimizer=auto: first the head)",
        )
    if settings.epochs == 1:
        return Recipe(plain, "only the head learns, in the one epoch that there is")
    chosen, rate = plain, ""
    if settings.optimizer == "auto":
        chosen = dataclasses.replace(settings, optimizer="adamw", lr=settings.lr * _ADAMW_SHARE)
        rate = f", with adamw and a fiftieth of lr={settings.lr:g}"
    return Recipe(
        chosen,
        f"the head learns first, then the pretrained backbone with it{rate}; the epoch that validates best "
        "is kept (freeze=none: all learn from the start; freeze=backbone: only the head)",
    )


def head_passes(settings: Settings, batches: int) -> int:
    """How often the head sees the features in the first epoch, of `batches` a pass; 0 with no head first."""
    if settings.freeze != "auto":
        return 0
    return max(2, min(_MOST_PASSES, -(-_HEAD_STEPS // batches)))
