"""Validation during training: the cheap suites, for the student and its EMA.

The data sets of a mixture are scored one by one, each among its own classes, so that its scores can be compared
with those of a run on it alone. Recognition also scores them together, among the classes of all of them.
"""

import functools
import time
from collections.abc import Mapping

from scenarioclip_jax.command import listed
from scenarioclip_jax.data.corrupt import Corrupt, read_scene
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.stall import StalledInputError
from scenarioclip_jax.data.stored.shards import SceneSource
from scenarioclip_jax.evaluation.embed.embedder import Embedder, Stopped
from scenarioclip_jax.evaluation.embed.encoder import TextsOf
from scenarioclip_jax.evaluation.embed.share import SharedBatches, share_of
from scenarioclip_jax.evaluation.score import from_embeddings
from scenarioclip_jax.evaluation.score.from_embeddings import PhotoTexts, Score
from scenarioclip_jax.evaluation.score.recognition import Recognition, pool, recognize
from scenarioclip_jax.models.params import Params
from scenarioclip_jax.train.config import SCORES, by_level
from scenarioclip_jax.train.data import DataSet, RunData
from scenarioclip_jax.train.metrics import MetricWriter, NullWriter
from scenarioclip_jax.train.progress import Progress, duration
from scenarioclip_jax.train.setup import Run
from scenarioclip_jax.train.state import TrainState
from scenarioclip_jax.train.stop import StopRequest

__all__ = ["Stopped", "Validator"]

# What a run chooses by, for people.
SCORE_NAMES = {"top1": "top-1", "R1": "recall@1", "negatives": "negatives beaten"}
NEGATIVES = "relation/hard_negatives/all"


class Validator:
    """Scores a split with the weights of a run.

    Args:
      stop: Checked between batches; a request to stop raises Stopped.
    """

    def __init__(self, run: Run, data: RunData, stop: StopRequest):
        config = run.config
        self._stop, self._mesh = stop, run.mesh
        self._data, self._scenes = data, config.validation.scenes
        self._texts: dict[tuple[str, str], dict[str, PhotoTexts]] = {}  # by data set and split
        self._suites = listed(config.validation.suites)
        self._levels = {level for level, w in by_level(config.loss.level_weights).items() if w}
        self._score = config.finetune.score if "finetune" in config else "top1"
        self.embedder = Embedder(
            run.graph, run.mesh, data.tokenizer, run.view_settings, run.spec.lengths, stop
        )

    def recognize(
        self, params: Params, split: str, scenes: int
    ) -> tuple[dict[str, Recognition], Recognition]:
        """Runs recognition on the first `scenes` scenes of a split of each data set; 0 means all.

        Returns:
          The results by name of the data set, for those that have such a split, and the results together: those
          of a single data set are the same.
        """
        sets = {each.name: each for each in self._data.sets if getattr(each, split) is not None}
        found = {
            name: self._recognize(params, getattr(each, split), scenes, each.classes)
            for name, each in sets.items()
        }
        if len(self._data.sets) == 1:
            return found, found[""]
        texts_of = functools.partial(self.embedder.texts, params)
        own = {name: each.classes for name, each in sets.items()}
        return found, pool(found, own, self._data.classes, texts_of)

    def _recognize(
        self, params: Params, source: SceneSource, scenes: int, classes: dict[str, list[str]]
    ) -> Recognition:
        batches = self._batches(source, self._indices(source, scenes))
        batches.give_up = lambda: self._stop.requested
        try:
            return recognize(self.embedder, params, batches, classes)
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
        For the data sets of a mixture they are `validation/NAME/student/LEVEL/METRIC`, and the former are those
        of recognition on all of them together.

        Returns:
          `score`, the student's mean strict top-1 over the levels that are trained, or its recalls by caption
          where there are no classes, and over the data sets; a fine-tuning may choose by the recalls of texts
          and pictures instead. None if there is no validation split.
        """
        sets = {each.name: each for each in self._data.sets if each.validation is not None}
        if not sets:
            return None
        started = time.perf_counter()
        row: dict[str, float] = {}
        main: dict[tuple[str, str], dict[str, float]] = {}  # by data set and weights
        for weights, params in state.weights().items():
            found, together = self.recognize(params, "validation", self._scenes)
            texts_of = functools.partial(self.embedder.texts, params)
            for name, recognition in found.items():
                scores = self._scores(recognition, sets[name], texts_of)
                row |= _named(scores, weights, f"{name}/" if name else "")
                main[name, weights] = self._main(recognition, scores)
            if "" not in found:
                scores = from_embeddings.scores(
                    together, self._data.classes, {}, texts_of, ["zero_shot"]
                )
                row |= _named(scores, weights, "")
        students = [list(main[name, "student"].values()) for name in sets]
        score = sum(sum(each) / max(len(each), 1) for each in students) / len(students)
        writer.write(step, row | {"validation/score": score})
        lines = [
            f"{name} {weights} ".lstrip()
            + " ".join(f"{level} {value:.1%}" for level, value in values.items())
            for (name, weights), values in main.items()
        ]
        progress.say(
            f"validation at step {step}, {SCORE_NAMES[self._score]}: {'; '.join(lines)} "
            f"({duration(time.perf_counter() - started)})"
        )
        progress.restart(step)
        return {"score": score}

    def main(self, params: Params, split: str, scenes: int) -> dict[str, float]:
        """What validation chooses by, by level (and by data set of a mixture), of any weights on a split.

        Empty if no data set has such a split.
        """
        if all(getattr(each, split) is None for each in self._data.sets):
            return {}
        found, _ = self.recognize(params, split, scenes)
        values = {}
        for each in self._data.sets:
            if each.name in found:
                texts_of = functools.partial(self.embedder.texts, params)
                wanted, photos = {"zero_shot", SCORES[self._score]}, {}
                if self._score != "top1" or not found[each.name].scores:  # captions may decide
                    wanted.add("retrieval")
                    photos = self._photos(each, split, scenes)
                scores = from_embeddings.scores(
                    found[each.name], each.classes, photos, texts_of, wanted
                )
                main = self._main(found[each.name], scores)
                values |= {f"{each.name} {name}".lstrip(): value for name, value in main.items()}
        return values

    def _main(self, found: Recognition, scores: Mapping[str, Score]) -> dict[str, float]:
        """The main score of each level that is trained; recalls by caption if captions are all there is."""
        if self._score == "negatives" and (beaten := scores.get(NEGATIVES)) is not None:
            return {"relation": beaten.value}
        captions = {
            metric: value
            for metric, (value, _) in scores.items()
            if metric.startswith("caption/") and metric.endswith("/R1")
        }
        if self._score == "R1":
            recalls = {
                metric: value
                for metric, (value, _) in scores.items()
                if metric.endswith("/R1") and metric.split("/")[0] in self._levels
            }
            # Captions are read at the level `global`.
            return recalls | captions if "global" in self._levels else recalls or captions
        top1 = {
            level: values["top1"] for level, values in found.scores.items() if level in self._levels
        }
        return top1 or captions

    def _scores(self, found: Recognition, data: DataSet, texts_of: TextsOf) -> dict[str, Score]:
        wanted = {"hard_negatives", "retrieval"} & set(self._suites)
        photos = self._photos(data, "validation", self._scenes) if wanted else {}
        return from_embeddings.scores(found, data.classes, photos, texts_of, self._suites)

    def _indices(self, source: SceneSource, scenes: int) -> range:
        return range(min(scenes, len(source)) if scenes else len(source))

    def _photos(self, data: DataSet, split: str, scenes: int) -> dict[str, PhotoTexts]:
        """The texts of the photos of a split that are scored; read once, without the photos' pixels.

        Raises:
          InputUnavailableError: The system refuses to read a record.
        """
        if (data.name, split) in self._texts:
            return self._texts[data.name, split]
        source: SceneSource | None = getattr(data, split)
        found: dict[str, PhotoTexts] = {}
        assert source is not None  # the caller has looked
        for index in self._indices(source, scenes):
            scene = read_scene(source, index)
            if isinstance(scene, Corrupt):
                continue  # recognition leaves such a record out, and counts it
            found[scene.id] = PhotoTexts(
                [relation.triplet for relation in scene.relations],
                [relation.negatives for relation in scene.relations],
                scene.captions,
            )
        self._texts[data.name, split] = found
        return found


def _named(scores: Mapping[str, Score], weights: str, data: str) -> dict[str, float]:
    """The scores of some weights as metrics; `data` is the data set's part of the names."""
    row = {}
    for metric, (value, chance) in scores.items():
        row[f"validation/{data}{weights}/{metric}"] = value
        if chance is not None:
            row[f"validation/{data}chance/{metric}"] = chance
    return row
