"""Shows on a web page what a model says of photos, or serves it to other programs.

    python -m scenarioclip_jax.demo --model runs/demo --words data/embedded/6000-0 [--index ALBUM]
    python -m scenarioclip_jax.demo --api --model runs/demo [--words …] [--index ALBUM]

The page takes photos, boxes that are dragged on them, and words, and draws the scene graph; with `--compare`,
those of two models. Words are those of a data set or a file, or those of the data that the run names. With
`--api`, POST /describe, /embed and /search take JSON, which /docs explains; /health and /metrics tell how it
goes. Requests wait in a queue for the device, and those of one kind are computed together. It listens on this
machine only, unless `--host` says otherwise, which needs `--token-file`.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from scenarioclip_jax.errors import ReadableError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--api", action="store_true", help="no page: serve requests of programs")
    add("--model", required=True, help="as for scenarioclip_jax.load")
    add("--weights", default="student", choices=("student", "ema"), help="of a run")
    add(
        "--compare",
        metavar="WHAT",
        help="student or ema, the run's other weights, or a second model: shown beside",
    )
    add(
        "--words", help="data set, or JSON file with lists of words (default: a run's own data set)"
    )
    add("--index", type=Path, help="album to search, from scenarioclip_jax.search index")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--detector", metavar="MODEL", help="finds boxes where a request has none")
    where.add_argument("--grid", type=int, metavar="N", help="N x N boxes where there are none")
    add("--threshold", type=float, default=0.25, help="least score of a detector's box")
    add("--host", default="127.0.0.1", help="address to listen at")
    add("--port", type=int, default=0, help="port; by default one that is free")
    add("--queue", type=int, default=64, help="most requests that wait; more are told 429")
    add("--token-file", type=Path, help="file with the token that requests have to bring")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(argv)
    # These are slow to import.
    from scenarioclip_jax.demo.models import open_models
    from scenarioclip_jax.demo.serve import listen_guarded, serve
    from scenarioclip_jax.demo.service import Service
    from scenarioclip_jax.describe.boxes import grid
    from scenarioclip_jax.describe.detector import open_detector
    from scenarioclip_jax.describe.own_words import own_words
    from scenarioclip_jax.describe.vocabulary import read_words

    try:
        if flags.queue < 1:
            raise ValueError(f"--queue={flags.queue}: must be at least 1")
        token = "" if flags.api else secrets.token_urlsafe(24)
        if flags.token_file:
            token = flags.token_file.read_text(encoding="utf-8").strip()
            if not token.isascii() or len(token) < 16:
                raise ValueError(
                    f"--token-file={flags.token_file}: put at least 16 ASCII characters into it"
                )
        with listen_guarded(flags.host, flags.port, token) as listening:
            lists = {Path(flags.words).name: read_words(flags.words)} if flags.words else {}
            if own := own_words(flags.model):
                lists["the run's data"] = own
            detector = grid(flags.grid) if flags.grid is not None else None
            if flags.detector:
                detector = open_detector(flags.detector, flags.threshold)
            services = {}
            for name, model in open_models(flags.model, flags.weights, flags.compare).items():
                words, index = next(iter(lists.values()), None), None if services else flags.index
                services[name] = Service(model, words, index, detector)
            serve(services, listening, token, flags.queue, None if flags.api else lists)
    except (ReadableError, OSError, ValueError) as error:
        sys.exit(f"demo: {error}")
