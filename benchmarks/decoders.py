"""JPEG decoders side by side: time to decode a photo whole and at half its size, and how far pixels differ.

    pip install simplejpeg opencv-python-headless imagecodecs
    python -m benchmarks.decoders --photos DIR [--json FILE] [--rounds 7]

All of them decode the same bytes in turn, in one process and one thread. Time is the process's CPU time, a
median over rounds. Differences are those from Pillow, which reads photos here (`data.photo.rgb`), in levels of
255. Libraries that aren't installed, or can't decode at half the size, are left out.
"""

import argparse
import importlib.util
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from scenarioclip_jax.data.photo import rgb

Decode = Callable[[bytes], np.ndarray]


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(rgb(Image.open(io.BytesIO(data))))


def pillow_half(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    return np.asarray(rgb(image, min(image.size) // 2))


def decoders() -> dict[str, dict[str, Decode]]:
    """Whole and at half the size, by library."""
    found: dict[str, dict[str, Decode]] = {"Pillow": {"whole": pillow, "half": pillow_half}}
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        def simple_half(data: bytes) -> np.ndarray:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return simplejpeg.decode_jpeg(data, min_height=height // 2, min_width=width // 2)

        found["simplejpeg"] = {"whole": simplejpeg.decode_jpeg, "half": simple_half}
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)

        def opencv(flag: int) -> Decode:
            return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), flag)[..., ::-1]

        found["OpenCV"] = {
            "whole": opencv(cv2.IMREAD_COLOR),
            "half": opencv(cv2.IMREAD_REDUCED_COLOR_2),
        }
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs

        found["imagecodecs"] = {"whole": imagecodecs.jpeg8_decode}
    return found


def measure(
    photos: list[bytes], found: dict[str, dict[str, Decode]], rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a photo, and pixels' differences from Pillow, by size and library."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for size in ("whole", "half"):
        times: dict[str, list[float]] = {name: [] for name in found if size in found[name]}
        for number in range(rounds + 1):
            for name, seconds in times.items():
                start = time.process_time()
                for photo in photos:
                    found[name][size](photo)
                if number:  # the first round warms up
                    seconds.append((time.process_time() - start) / len(photos))
        results[size] = {}
        for name, seconds in times.items():
            apart = [difference(found[name][size](p), found["Pillow"][size](p)) for p in photos]
            results[size][name] = {
                "milliseconds": round(1e3 * statistics.median(seconds), 3),
                "mean difference": round(float(np.mean([a.mean() for a in apart])), 3),
                "largest difference": int(max(a.max() for a in apart)),
            }
    return results


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between two decoded photos, whose sizes may differ by a row or a column of rounding."""
    height, width = np.minimum(a.shape[:2], b.shape[:2])
    return np.abs(a[:height, :width].astype(int) - b[:height, :width].astype(int))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder with JPEG files")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    photos = [path.read_bytes() for path in paths]
    if not photos:
        parser.error(f"no JPEG files in {arguments.photos}")
    sizes = [Image.open(io.BytesIO(photo)).size for photo in photos]
    results = {
        "photos": len(photos),
        "megapixels a photo": round(statistics.mean(w * h for w, h in sizes) / 1e6, 3),
        "rounds": arguments.rounds,
        **measure(photos, decoders(), arguments.rounds),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
