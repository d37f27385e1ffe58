"""How many requests the service answers, against calling the model in a loop.

    python -m benchmarks.service --json FILE --model runs/demo [--clients 8] [--requests 200] [--rounds 5]

In turn: `service`, requests for the embedding of one text each by concurrent clients over loopback; `loop`,
the same texts by one call of the model each. Texts all differ. Medians of the rounds, after one to warm up, in
requests a second; latency of all requests of the service, in milliseconds.
"""

import argparse
import json
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import uvicorn

import scenarioclip_jax
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.listening import listen


def measure(path: str, clients: int, requests: int, rounds: int) -> dict:
    model = scenarioclip_jax.load(path)
    metrics = Metrics()
    batcher = Batcher(clients, note=metrics.batch)
    listening = listen("127.0.0.1", 0)
    app = make_app({"the model": Service(model, None)}, batcher, metrics, "", None)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    running = threading.Thread(target=server.run, args=([listening],), daemon=True)
    running.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/embed"
    taken: list[float] = []
    rates: dict[str, list[float]] = {"service": [], "loop": []}
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(clients) as pool:

        def ask(text: str) -> float:
            began = time.perf_counter()
            client.post(address, json={"texts": [text]}).raise_for_status()
            return 1000 * (time.perf_counter() - began)

        for turn in range(rounds + 1):
            texts = [f"circle {turn} {number}" for number in range(requests)]
            began = time.perf_counter()
            found = list(pool.map(ask, texts))
            rates["service"].append(requests / (time.perf_counter() - began))
            taken += found if turn else []
            began = time.perf_counter()
            for text in texts:
                model.encode_text([text])
            rates["loop"].append(requests / (time.perf_counter() - began))
    server.should_exit = True
    running.join()
    batcher.close()
    medians = {name: statistics.median(each[1:]) for name, each in rates.items()}
    p50, p95 = np.percentile(taken, (50, 95)).tolist()
    sizes = {"clients": clients, "requests": requests, "rounds": rounds, "cores": os.cpu_count()}
    return sizes | {"requests a second": medians, "p50 ms": p50, "p95 ms": p95}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    found = measure(flags.model, flags.clients, flags.requests, flags.rounds)
    print(json.dumps(found))
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
