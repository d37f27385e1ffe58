"""Validation during training: the cheap suites, for the student and its EMA."""

import contextlib
import functools
import time

from scenarioclip_jax.command import listed
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.stall import StalledInputError
from scenarioclip_jax.data.stored.shards import DataSetError, SceneSource
from scenarioclip_jax.evaluation.embed.embedder import Embedder, Stopped
from scenarioclip_jax.evaluation.embed.share import SharedBatches, share_of
from scenarioclip_jax.evaluation.score import from_embeddings
from scenarioclip_jax.evaluation.score.from_embeddings import PhotoTexts
from scenarioclip_jax.evaluation.score.recognition import Recognition, recognize
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.train.data import RunData
from scenarioclip_jax.train.metrics import MetricWriter, NullWriter
from scenarioclip_jax.train.progress import Progress, duration
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.state import TrainState
from scenarioclip_jax.train.stop import StopRequest

__all__ = ["Stopped", "Validator"]


class Validator:
    """Scores a split with the weights of a run.

    Args:
      stop: Checked between batches; a request to stop raises Stopped.
    """

    def __init__(self, run: Run, data: RunData, stop: StopRequest):
        config = run.config
        self._stop, self._mesh = stop, run.mesh
        self._data, self._scenes = data, config.validation.scenes
        self._suites = listed(config.validation.suites)
        self.embedder = Embedder(
            run.graph, run.mesh, data.tokenizer, run.view_settings, run.spec.lengths, stop
        )

    def recognize(self, params: Params, split: str, scenes: int) -> Recognition:
        """Runs recognition on the first `scenes` scenes of a split; 0 means all."""
        source = getattr(self._data, split)
        indices = self._indices(source, scenes)
        batches = self._batches(source, indices)
        batches.give_up = lambda: self._stop.requested
        try:
            return recognize(self.embedder, params, batches, self._data.classes)
        except StalledInputError:
            if self._stop.requested:
                raise Stopped from None
            raise

    def _batches(self, source: SceneSource, indices: range) -> EvaluationBatches | SharedBatches:
        """Makes the batches; each process reads a part of the scenes if the mesh allows sharing them."""
        settings = self._data.settings
        share = share_of(self._mesh, settings.packing_groups)
        if share.parts == 1:
            return EvaluationBatches(source, self._data.tokenizer, settings, indices)
        return SharedBatches(share, source, self._data.tokenizer, settings, indices)

    def validate(
        self,
        state: TrainState,
        step: int,
        writer: MetricWriter | NullWriter,
        progress: Progress,
    ) -> dict[str, float] | None:
        """Scores student and EMA on the validation split and writes one row.

        The names are `validation/student/LEVEL/METRIC`, likewise for `ema`, and for `chance` where it is known.

        Returns:
          `score`, the student's mean strict top-1 over the levels, or its recalls by caption where there are no
          classes; None if there is no validation split.
        """
        if self._data.validation is None:
            return None
        started = time.perf_counter()
        row, top1 = {}, {}
        for name, params in state.weights().items():
            found = self.recognize(params, "validation", self._scenes)
            texts_of = functools.partial(self.embedder.texts, params)
            photos = self._photos if {"hard_negatives", "retrieval"} & set(self._suites) else {}
            scores = from_embeddings.scores(
                found, self._data.classes, photos, texts_of, self._suites
            )
            for metric, (value, chance) in scores.items():
                row[f"validation/{name}/{metric}"] = value
                if chance is not None:
                    row[f"validation/chance/{metric}"] = chance
            top1[name] = {level: values["top1"] for level, values in found.scores.items()}
            if not top1[name]:  # captions are all there is
                top1[name] = {
                    metric: value
                    for metric, (value, _) in scores.items()
                    if metric.startswith("caption/") and metric.endswith("/R1")
                }
        score = sum(top1["student"].values()) / max(len(top1["student"]), 1)
        writer.write(step, row | {"validation/score": score})
        lines = [
            f"{name} " + " ".join(f"{level} {value:.1%}" for level, value in values.items())
            for name, values in top1.items()
        ]
        progress.say(
            f"validation at step {step}, top-1: {'; '.join(lines)} "
            f"({duration(time.perf_counter() - started)})"
        )
        progress.restart(step)
        return {"score": score}

    def _indices(self, source: SceneSource, scenes: int) -> range:
        return range(min(scenes, len(source)) if scenes else len(source))

    @functools.cached_property
    def _photos(self) -> dict[str, PhotoTexts]:
        """The texts of the photos used for validation; read once, without the photos' pixels."""
        source, found = self._data.validation, {}
        assert source is not None  # `validate` has looked
        for index in self._indices(source, self._scenes):
            with contextlib.suppress(
                DataSetError
            ):  # recognition leaves such a record out, and counts it
                scene = source[index]
                found[scene.id] = PhotoTexts(
                    [relation.triplet for relation in scene.relations],
                    [relation.negatives for relation in scene.relations],
                    scene.captions,
                )
        return found
