"""Builds on Apache Beam: the calls of a build are made by the workers of any of its runners.

All workers must see annotations, photos and output under the same paths, as on NFS or a mounted bucket, and
have this package installed. Results are those of a build on one machine to the last byte, since the same
functions make the same chunks and shards. Needs the extra `beam`.
"""

import contextlib
import io
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scenarioclip_jax.data.build.pool import LostProcessError, Result
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_whole


class BeamPool:
    """A `pool.Pool` whose calls are made by a Beam pipeline, one for each function.

    Arguments and results pass through files rather than the pipeline, which some runners limit to a few
    megabytes.

    Args:
      flags: Flags of Beam, such as `--runner=FlinkRunner`.
      folder: Folder that the workers can write to, for arguments and results. It is removed at the end.

    Raises:
      ValueError: Beam isn't installed, or doesn't know a flag.
    """

    def __init__(self, flags: Sequence[str], folder: Path):
        self._options = _parsed(flags)
        self._folder = folder

    def __call__(
        self, function: Callable[..., Result], arguments: Iterable[tuple], count: int
    ) -> Iterator[Result]:
        """See `pool.Pool`.

        Raises:
          LostProcessError: The pipeline failed.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            for number, each in enumerate(arguments):
                _write(_arguments(self._folder, number), (function, each))
            try:
                beam = _apache_beam()
                with beam.Pipeline(options=self._options) as pipeline:
                    _ = (
                        pipeline
                        | beam.Create(range(count))
                        | beam.Reshuffle()  # otherwise a runner may give all calls to one worker
                        | beam.Map(_call, str(self._folder))
                    )
            except Exception as error:  # of many types, by runner
                raise LostProcessError(
                    f"the Beam pipeline failed: {_last_line(error)}\nStart the same command again once the "
                    "cause is mended: it goes on with what is done"
                ) from error
            for number in range(count):
                result, error = pickle.loads(_result(self._folder, number).read_bytes())
                if error is not None:
                    raise error
                yield result
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _apache_beam() -> Any:
    """Imports Beam, which is an extra and takes seconds to import."""
    try:
        import apache_beam.options.pipeline_options  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "--runner needs Apache Beam, which isn't installed: pip install 'scenarioclip_jax[beam]'"
        ) from error
    return apache_beam


def _parsed(flags: Sequence[str]) -> Any:
    options = _apache_beam().options.pipeline_options.PipelineOptions(list(flags))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # argparse would print hundreds of flags
            known = options.get_all_options()
            all_ = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        reason = said.getvalue().strip().split("\n")[-1].split("error: ")[-1]
        raise ValueError(f"{' '.join(flags)}: {reason}") from None
    unknown = all_.keys() - known.keys()
    names = [flag.partition("=")[0] for flag in flags]
    given = [name for name in names if name.lstrip("-").replace("-", "_") in unknown]
    if unknown:
        raise ValueError(
            f"{', '.join(given or unknown)}: neither a flag of this command nor one of Beam's"
        )
    return options


def _call(number: int, folder: str) -> None:
    """Makes one call in a worker, unless another attempt at it was successful before."""
    target = _result(Path(folder), number)
    if target.is_file():
        return
    function, arguments = pickle.loads(_arguments(Path(folder), number).read_bytes())
    try:
        outcome = function(*arguments), None
    except (ReadableError, ValueError) as error:  # another attempt would end in the same way
        outcome = None, error
    _write(target, outcome)


def _arguments(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.arguments"


def _result(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.result"


def _write(path: Path, value: Any) -> None:
    write_whole(path, lambda stream: pickle.dump(value, stream, pickle.HIGHEST_PROTOCOL))


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).split("\n") if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
