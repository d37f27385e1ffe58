"""`Watch`: the observers of a run."""

from collections.abc import Callable
from typing import NamedTuple

from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.train.metrics import MetricWriter, NullWriter
from scenarioclip_jax.train.progress import Progress
from scenarioclip_jax.train.stop import StopRequest
from scenarioclip_jax.train.times_read import Drawn
from scenarioclip_jax.train.validation import Validator


class Watch(NamedTuple):
    """The observers of a run, which change nothing in it."""

    writer: MetricWriter | NullWriter
    progress: Progress
    validator: Validator
    stop: StopRequest
    tokenizer: Tokenizer  # for the texts in the first batch's figure
    drawn: Callable[[int], dict[str, Drawn]]  # what so many steps read of each data set
