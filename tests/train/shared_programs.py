"""Lets the runs of a test file share what they trace and compile, and leaves their figures out.

A run of the tiny towers takes a second or two of computing, and several times that to trace its programs, to
read them from the compilation cache and to draw its figures. Tests of what becomes of a run that is disturbed
need none of that anew.
"""

import io
import json

from PIL import Image

from scenarioclip_jax.evaluation.report import svg
from scenarioclip_jax.train import loop, report_photos, validation
from scenarioclip_jax.train.config import plain

# What a run reads from its config while it runs; nothing that is compiled depends on it.
READ = ("report", "validation", "checkpoint", "resume", "log_every", "init_from")


class Shared:
    """Programs by what they depend on.

    Attributes:
      reuses: Whether runs use what is known. If not, they make all of it themselves, and it is known then.
    """

    def __init__(self):
        self._runs, self._embedders, self._steps = {}, {}, {}
        self.reuses = True

    def share(self, patch) -> None:
        """Has all runs from here on share their programs, as long as `patch` (pytest's MonkeyPatch) holds."""
        real_set_up, real_compile = loop.set_up, loop.compile_step

        def set_up(config, mesh, **of_data):
            values = {key: value for key, value in plain(config).items() if key not in READ}
            key = (json.dumps(values), mesh, of_data["scenes"], of_data["focus_images"])
            known = self._runs.get(key) if self.reuses else None
            if known is None or config.init_from:  # initial weights are read by `init`
                run = real_set_up(config, mesh, **of_data)
                if known is not None:
                    run = run._replace(train_step=known.train_step, graph=known.graph)
                elif not config.init_from:
                    self._runs[key] = run
                return run
            return known._replace(config=config)

        def compile_step(run, progress):
            if run.train_step not in self._steps or not self.reuses:
                self._steps[run.train_step] = real_compile(run, progress)
            return self._steps[run.train_step]

        class Embedder(validation.Embedder):
            def __init__(embedder, graph, mesh, tokenizer, view_settings, lengths, stop):
                super().__init__(graph, mesh, tokenizer, view_settings, lengths, stop)
                key = (graph, mesh, view_settings)
                if key not in self._embedders or not self.reuses:
                    self._embedders[key] = embedder._runner, embedder._encode_batch
                embedder._runner, embedder._encode_batch = self._embedders[key]

        patch.setattr(loop, "set_up", set_up)
        patch.setattr(loop, "compile_step", compile_step)
        patch.setattr(validation, "Embedder", Embedder)


DRAWS = {
    (loop, "write_first_batch"): loop.write_first_batch,
    (svg, "inline"): svg.inline,
    (report_photos, "_grid"): report_photos._grid,
}


def draw_nothing(patch) -> None:
    """Leaves the figures of a run and of its report out."""
    patch.setattr(loop, "write_first_batch", lambda *_: None)
    patch.setattr(svg, "inline", lambda figure, label: "")
    blank = io.BytesIO()
    Image.new("RGB", (1, 1)).save(blank, "PNG")
    patch.setattr(report_photos, "_grid", lambda *_: blank.getvalue())


def draw_all(patch) -> None:
    """Draws them again."""
    for (module, name), function in DRAWS.items():
        patch.setattr(module, name, function)
