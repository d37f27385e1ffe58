"""Validation during training: zero-shot recognition by the student and by its EMA."""

import time

from jax.sharding import Mesh
from ml_collections import ConfigDict

from scenarioclip_jax.data.pipeline import evaluation_batches
from scenarioclip_jax.data.stall import StalledInputError
from scenarioclip_jax.evaluation.embed import Embedder, Stopped
from scenarioclip_jax.evaluation.recognition import Recognition, recognise
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.train.data import RunData
from scenarioclip_jax.train.metrics import MetricWriter, NullWriter
from scenarioclip_jax.train.progress import Progress, duration
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.state import TrainState
from scenarioclip_jax.train.stop import StopRequest

__all__ = ["Stopped", "Validator"]

SHOWN = ("top1", "top5", "any_label_top1")


class Validator:
    """Recognises a split with the weights of a run.

    Args:
      stop: asked between batches; a request raises Stopped.
    """

    def __init__(
        self,
        config: ConfigDict,
        mesh: Mesh,
        run: Run,
        data: RunData,
        stop: StopRequest,
    ):
        self._stop = stop
        self._data, self._scenes = data, config.validation.scenes
        self.embedder = Embedder(
            run.graph, mesh, data.tokenizer, run.view_settings, run.spec.lengths, stop
        )

    def recognise(self, params: Params, split: str, scenes: int) -> Recognition:
        """Recognises the first `scenes` scenes of a split (0: all)."""
        source = getattr(self._data, split)
        count = min(scenes, len(source)) if scenes else len(source)
        batches = evaluation_batches(
            source, self._data.tokenizer, self._data.settings, range(count)
        )
        batches.give_up = lambda: self._stop.requested
        try:
            return recognise(self.embedder, params, batches, self._data.classes)
        except StalledInputError:
            if self._stop.requested:
                raise Stopped from None
            raise

    def validate(
        self,
        state: TrainState,
        step: int,
        writer: MetricWriter | NullWriter,
        progress: Progress,
    ) -> dict[str, float] | None:
        """Scores student and EMA on the validation split and writes one row.

        Returns:
          `score`, the student's mean strict top-1 over the levels; None if there is no such split.
        """
        if self._data.validation is None:
            return None
        started = time.perf_counter()
        weights = {"student": state.student()} | ({"ema": state.teacher()} if state.ema else {})
        row, lines = {}, []
        for name, params in weights.items():
            scores = self.recognise(params, "validation", self._scenes).scores
            for level, values in scores.items():
                row |= {f"validation/{name}/{level}/{k}": values[k] for k in SHOWN}
            lines.append(f"{name} " + " ".join(f"{v} {s['top1']:.1%}" for v, s in scores.items()))
        student = [
            row[k] for k in row if k.startswith("validation/student/") and k.endswith("/top1")
        ]
        score = sum(student) / len(student)
        writer.write(step, row | {"validation/score": score})
        progress.say(
            f"validation at step {step}, top-1: {'; '.join(lines)} "
            f"({duration(time.perf_counter() - started)})"
        )
        progress.restart(step)
        return {"score": score}
