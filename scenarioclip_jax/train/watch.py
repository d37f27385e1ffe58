"""`Watch`: those who look at a run."""

from typing import NamedTuple

from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.train.metrics import MetricWriter, NullWriter
from scenarioclip_jax.train.progress import Progress
from scenarioclip_jax.train.stop import StopRequest
from scenarioclip_jax.train.validation import Validator


class Watch(NamedTuple):
    """Those who look at a run and change nothing in it."""

    writer: MetricWriter | NullWriter
    progress: Progress
    validator: Validator
    stop: StopRequest
    tokenizer: Tokenizer  # for the texts of the first batch's picture
