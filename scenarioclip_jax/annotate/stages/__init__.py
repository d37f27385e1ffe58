"""The stages that make a record of each photo, in their order; a module each."""

from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.stage import Stage
from scenarioclip_jax.annotate.stages.caption import CAPTION
from scenarioclip_jax.annotate.stages.detect import DETECT
from scenarioclip_jax.annotate.stages.negatives import NEGATIVES
from scenarioclip_jax.annotate.stages.regions import REGIONS
from scenarioclip_jax.annotate.stages.segment import SEGMENT
from scenarioclip_jax.annotate.stages.validate import VALIDATE
from scenarioclip_jax.annotate.stages.verify import VERIFY

# Each reads what those before it have made.
STAGES = (CAPTION, DETECT, SEGMENT, REGIONS, NEGATIVES, VERIFY, VALIDATE)
NAMES = tuple(stage.name for stage in STAGES)


def asked_for(settings: Settings) -> tuple[Stage, ...]:
    """The stages that the settings ask for. Records of others stay, and count again once they are asked for."""
    return tuple(stage for stage in STAGES if stage.is_on(settings))
