"""How good the annotation pipeline's scenes are where its models make errors of known rates.

    python -m benchmarks.annotate_quality --json FILE [--scenes 500]

Drawn scenes, whose truth is known, stand in for photos, and their truth with errors for the models: objects
that aren't named or not found, names that are cut, boxes that are shifted, triplets whose ends are swapped.
Told are recall and precision of objects, triplets and groundings after each step, and the share of negatives
that are true of the picture: of the checked ones, before and after a verifier saw them, and of those that the
authors' scripts would draw. A lenient reader decides what is true by where the objects are, not by the
annotations. The verifier goes by the annotations without errors, and says the opposite at a set rate.
"""

import argparse
import contextlib
import gzip
import io
import json
import tempfile
from collections import Counter
from pathlib import Path

from scenarioclip_jax.annotate.assemble import FOLDER, METADATA
from scenarioclip_jax.annotate.command import main as annotate
from scenarioclip_jax.annotate.quality import measure
from scenarioclip_jax.annotate.work import open_work
from scenarioclip_jax.data.embedded.placed import PREDICATES, could_be_said
from scenarioclip_jax.data.embedded.scenes import EmbeddedScene, make_scene
from scenarioclip_jax.data.embedded.write import SIZE, write_embedded

SEED = 0
ERRORS = {
    "no errors": {},
    "20% not named": {"unnamed": 0.2},
    "20% not found": {"missed": 0.2},
    "30% of names cut": {"merged": 0.3},
    "boxes shifted by 10%": {"shifted": 0.1},
    "20% of triplets swapped": {"wrong": 0.2},
    "all of these by half": {
        "unnamed": 0.1,
        "missed": 0.1,
        "merged": 0.15,
        "shifted": 0.05,
        "wrong": 0.1,
    },
}

# How negatives are made: method, and how often the verifier errs; None: there is none.
WAYS = {
    "published": ("published", None),
    "published, verified": ("published", 0.0),
    "checked": ("checked", None),
    "verified": ("checked", 0.0),
    "verified, 10% wrong": ("checked", 0.1),
    "verified, 30% wrong": ("checked", 0.3),
}

# What the reader can judge, too, with its ends swapped.
INVERSES = {
    "right of": "left of",
    "below": "above",
    "below right of": "above left of",
    "below left of": "above right of",
    "containing": "inside",
    "covered by": "covering",
    "dwarfed by": "dwarfing",
    "smaller than": "dwarfing",
}


def run(folder: Path, errors: dict, method: str, misjudged: float | None) -> Path:
    """Runs the pipeline, or what is stale of it; returns the working folder."""
    work, config = folder / "work", folder / "annotate.yaml"
    truth = {"folder": str(folder / "truth"), "misjudged": misjudged or 0.0, **errors}
    settings = {"truth": truth, "negatives": {"method": method}, "assemble": {"examples": 0}}
    settings["verify"] = {"enabled": misjudged is not None}
    config.write_text(json.dumps(settings))
    flags = ["--images", str(folder / "truth/images"), "--output", str(work)]
    with contextlib.redirect_stdout(io.StringIO()):
        if annotate(["run", *flags, "--config", str(config)]):
            raise SystemExit(f"the pipeline failed with {errors}")
    return work


def could_be_true(scene: EmbeddedScene, triplet: list[str]) -> bool:
    """Whether a lenient reader might call a triplet true of the picture."""
    subject, predicate, object_ = triplet
    for i, one in enumerate(scene.objects):
        for j, other in enumerate(scene.objects):
            named = f" {one.name}".endswith(f" {subject}") and f" {other.name}".endswith(
                f" {object_}"
            )
            if i != j and named and _said(predicate, scene, i, j):
                return True
    return False


def _said(predicate: str, scene: EmbeddedScene, i: int, j: int) -> bool:
    """As `could_be_said`, also of the inverses of what the drawn scenes say."""
    if predicate in INVERSES:
        predicate, i, j = INVERSES[predicate], j, i
    subject, object_ = scene.objects[i], scene.objects[j]
    return predicate in PREDICATES and could_be_said(predicate, subject, object_, in_front=i > j)


def negatives(work: Path, scenes: dict[str, EmbeddedScene]) -> dict[str, dict[str, int]]:
    """Counts negatives by kind: all, those that could be true, those that the reader can't judge."""
    found: dict[str, Counter[str]] = {}
    with gzip.open(work / FOLDER / METADATA, "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            for relation in record["relations"]:
                for *triplet, kind in relation.get("negatives", ()):
                    counts = found.setdefault(kind, Counter(all=0, true=0, unknown=0))
                    counts["all"] += 1
                    counts["unknown"] += triplet[1] not in (*PREDICATES, *INVERSES)
                    counts["true"] += could_be_true(scenes[Path(record["id"]).stem], triplet)
    return {kind: dict(counts) for kind, counts in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True, metavar="FILE")
    parser.add_argument("--scenes", type=int, default=500)
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_embedded(folder / "truth", args.scenes, SEED)
        made = (make_scene(SEED, index, SIZE) for index in range(args.scenes))
        scenes = {scene.id: scene for scene in made}
        for called, errors in ERRORS.items():
            result = {}
            for way, (method, misjudged) in WAYS.items():
                work = run(folder, errors, method, misjudged)
                result[f"negatives, {way}"] = negatives(work, scenes)
            result |= measure(open_work(work), folder / "truth")
            results[called] = result
            print(called, flush=True)
            for step in ("detect", "regions", "validate"):
                told = [
                    f"{what} {each['recall']:.1%} / {each['precision']:.1%}"
                    for what, each in result[step].items()
                    if each["given"]
                ]
                print(f"  {step}: recall / precision of {', '.join(told)}")
            for way in WAYS:
                counts = sum((Counter(c) for c in result[f"negatives, {way}"].values()), Counter())
                print(
                    f"  negatives, {way}: {counts['true'] / counts['all']:.2%} of {counts['all']:,} "
                    f"could be true, {counts['unknown']:,} can't be judged"
                )
    values = {"scenes": args.scenes, "seed": SEED, "results": results}
    Path(args.json).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
