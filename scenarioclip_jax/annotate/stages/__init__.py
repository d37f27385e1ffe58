"""The stages that make a record of each photo, in their order; a module each."""

from scenarioclip_jax.annotate.stages.caption import CAPTION
from scenarioclip_jax.annotate.stages.detect import DETECT
from scenarioclip_jax.annotate.stages.negatives import NEGATIVES
from scenarioclip_jax.annotate.stages.regions import REGIONS
from scenarioclip_jax.annotate.stages.segment import SEGMENT
from scenarioclip_jax.annotate.stages.validate import VALIDATE

# Each reads what those before it have made.
STAGES = (CAPTION, DETECT, SEGMENT, REGIONS, NEGATIVES, VALIDATE)
NAMES = tuple(stage.name for stage in STAGES)
