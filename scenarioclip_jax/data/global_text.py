"""Which text the level `global` reads: a scene's action, or one of its captions."""

import numpy as np

from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Scene

_SALT = 0x7E87  # tells the draw of a text from other draws with the scene's seed


def draw_global_text(scene: Scene, settings: DataSettings, seed: int) -> str:
    """Returns the text of a whole scene, or "" if it has neither an action nor a caption.

    `settings.global_text` says which kind is wanted; a scene that lacks it reads the other kind. Which caption
    is read, and of which kind a `mixed` text is, is a pure function of `seed`.

    Args:
      scene: The scene.
      settings: Settings of the data.
      seed: The scene's own seed, another one whenever the scene is read again.
    """
    if not scene.captions:
        return scene.action
    if scene.action and settings.global_text == "action":
        return scene.action
    draw = np.random.default_rng([seed, _SALT])
    mixed = settings.global_text == "mixed"
    if scene.action and mixed and draw.random() >= settings.caption_share:
        return scene.action
    return scene.captions[int(draw.integers(len(scene.captions)))]


def longest_global_text(scene: Scene, settings: DataSettings) -> str:
    """Returns the longest text that may be drawn, in characters: the room that a scene may need."""
    if scene.action and (settings.global_text == "action" or not scene.captions):
        return scene.action
    action = [scene.action] if settings.global_text == "mixed" else []
    return max([*action, *scene.captions], key=len, default="")
