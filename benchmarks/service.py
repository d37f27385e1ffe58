"""How many requests the service answers, against calling the model in a loop.

    python -m benchmarks.service --json FILE --model runs/demo [--clients 8] [--requests 200] [--rounds 5]
    python -m benchmarks.service --json FILE --preset vitb32 --ask describe --seconds 20 --rounds 3

In turn: `service`, requests of concurrent clients over loopback; `loop`, the same by one call of the model
each. A round takes a number of requests, or, with `--seconds`, as many as begin within that time on either
side. Asked are embeddings of one text each (`texts`, which all differ), or scene graphs of photos with three
boxes (`describe`, photos of 640 x 480 pixels; the words are few, so that photos are what costs). `--preset`
takes a model of that size with random weights. Medians of the rounds, after one to warm up, in requests a
second; latency of all requests of the service, in milliseconds; the mean number of requests that were computed
at once.
"""

import argparse
import base64
import contextlib
import io
import itertools
import json
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image

import scenarioclip_jax
from benchmarks.service_model import SIZES, random_model
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.inference import Model
from scenarioclip_jax.listening import listen

WORDS = Words(("riding", "sleeping"), ("man", "horse", "hat"), ("on", "near"))
BOXES = [[100, 60, 300, 400], [200, 150, 500, 460], [320, 20, 420, 160]]
SIZE, PHOTOS = (640, 480), 16


class Question:
    """What is asked: as a request, and as a call of the model."""

    def __init__(self, model: Model, kind: str):
        self._model, self._kind, self._texts = model, kind, Texts(model)
        self.path = "/embed" if kind == "texts" else "/describe"
        noise = np.random.default_rng(0).integers(0, 256, (PHOTOS, 12, 16, 3), np.uint8)
        self._photos = [_jpeg(Image.fromarray(each).resize(SIZE)) for each in noise]

    def body(self, number: int) -> dict[str, Any]:
        if self._kind == "texts":
            return {"texts": [f"circle {number}"]}
        photo = base64.b64encode(self._photos[number % PHOTOS]).decode()
        return {"photo": photo, "boxes": BOXES}

    def call(self, number: int) -> None:
        if self._kind == "texts":
            self._model.encode_text([f"circle {number}"])
        else:
            photo = Image.open(io.BytesIO(self._photos[number % PHOTOS]))
            self._model.describe(photo, BOXES, words=WORDS, texts=self._texts)


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


@contextlib.contextmanager
def served(model: Model, clients: int, metrics: Metrics) -> Iterator[str]:
    """The service's address while it runs."""
    batcher = Batcher(clients, note=metrics.batch)
    listening = listen("127.0.0.1", 0)
    app = make_app({"the model": Service(model, WORDS)}, batcher, metrics, "", None)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    running = threading.Thread(target=server.run, args=([listening],), daemon=True)
    running.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    running.join()
    batcher.close()


def timed(
    do: Callable[[int], None], numbers: Iterator[int], requests: int, seconds: float, threads: int
) -> tuple[float, list[float]]:
    """Does something with one number after the other in some threads.

    Returns:
      How often it was done in a second, and how many milliseconds each took.
    """
    found: list[float] = []
    own, lock = itertools.count() if seconds else iter(range(requests)), threading.Lock()
    began = time.perf_counter()
    end = began + seconds if seconds else float("inf")

    def work(_: int) -> None:
        while time.perf_counter() < end:
            with lock:
                if next(own, None) is None:
                    return
                number = next(numbers)
            started = time.perf_counter()
            do(number)
            found.append(1000 * (time.perf_counter() - started))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return len(found) / (time.perf_counter() - began), found


def measure(
    model: Model, kind: str, clients: int, requests: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Measures both sides in turn."""
    metrics, question, numbers = Metrics(), Question(model, kind), itertools.count()
    taken: list[float] = []
    rates: dict[str, list[float]] = {"service": [], "loop": []}
    with (
        served(model, clients, metrics) as address,
        httpx.Client(timeout=120) as client,
    ):

        def ask(number: int) -> None:
            answer = client.post(address + question.path, json=question.body(number))
            answer.raise_for_status()

        for turn in range(rounds + 1):
            rate, found = timed(ask, numbers, requests, seconds, clients)
            rates["service"].append(rate)
            taken += found if turn else []
            rates["loop"].append(timed(question.call, numbers, requests, seconds, 1)[0])
    medians = {name: statistics.median(each[1:]) for name, each in rates.items()}
    p50, p95 = np.percentile(taken, (50, 95)).tolist()
    counts = dict(re.findall(r"batch_size_(sum|count) (\d+)", metrics.text(0)))
    return {
        "requests a second": medians,
        "rounds": {name: each[1:] for name, each in rates.items()},
        "p50 ms": p50,
        "p95 ms": p95,
        "requests": len(taken),
        "requests in a call, mean": int(counts["sum"]) / int(counts["count"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="as for scenarioclip_jax.load")
    which.add_argument("--preset", choices=SIZES, help="a model of that size with random weights")
    parser.add_argument("--ask", choices=("texts", "describe"), default="texts")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=0, help="of a round, instead of --requests"
    )
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    model = random_model(flags.preset) if flags.preset else scenarioclip_jax.load(flags.model)
    found = measure(model, flags.ask, flags.clients, flags.requests, flags.seconds, flags.rounds)
    asked = {"ask": flags.ask, "clients": flags.clients, "cores": os.cpu_count()}
    asked["model"] = flags.preset or "given"
    print(json.dumps(asked | found))
    if flags.json:
        flags.json.write_text(json.dumps(asked | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
