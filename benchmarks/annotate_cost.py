"""What the annotation pipeline's models compute for a photo, and what a thousand photos would take here.

    python -m benchmarks.annotate_cost --json FILE

PyTorch counts the floating point operations of detector and segmenter, on models with the shapes of the default
ones and random weights. Those of the language model are 2 x parameters x tokens: its published number of
parameters, and the tokens of the default prompt, a photo and an answer. How fast this machine is, is measured
on the detector; the time of everything else is scaled from that by operations, so it is an estimate.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from scenarioclip_jax.annotate.models.prompts import prompt, verify_prompt, with_statements
from scenarioclip_jax.annotate.settings import CaptionSettings, VerifySettings

PARAMETERS = 4.4e9  # Qwen3-VL-4B
# A token of it is 32 x 32 pixels of a photo, which is made smaller to 768 x 576; an answer has about this many.
PHOTO_TOKENS, ANSWER_TOKENS = 24 * 18, 300
ROUNDS = 3
# For `verify`, which is off by default: texts of a photo with six relations; tokens of a verdict.
TEXTS, VERDICT_TOKENS = 48, 6


def detector() -> torch.nn.Module:
    """Grounding DINO base, with random weights."""
    backbone = transformers.SwinConfig(
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        image_size=384,
        out_indices=[2, 3, 4],
        drop_path_rate=0.0,
    )
    config = transformers.GroundingDinoConfig(backbone_config=backbone)
    return transformers.GroundingDinoForObjectDetection(config).eval()


def detect(model: torch.nn.Module) -> None:
    """Runs the detector on a photo of 4 to 3 and a prompt of ten names."""
    words = torch.randint(2000, 20000, (1, 40))
    model(
        pixel_values=torch.zeros(1, 3, 800, 1066),
        pixel_mask=torch.ones(1, 800, 1066, dtype=torch.long),
        input_ids=words,
        attention_mask=torch.ones_like(words),
        token_type_ids=torch.zeros_like(words),
    )


def segmenter() -> torch.nn.Module:
    """The image encoder of SAM 2.1 large, which is nearly all that it computes, without weights."""
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=144,
        num_attention_heads=2,
        blocks_per_stage=[2, 6, 36, 4],
        embed_dim_per_stage=[144, 288, 576, 1152],
        num_attention_heads_per_stage=[2, 4, 8, 16],
        window_size_per_stage=[8, 4, 16, 8],
        global_attention_blocks=[23, 33, 43],
        window_positional_embedding_background_size=[7, 7],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[1152, 576, 288, 144]
    )
    with torch.device("meta"):
        return transformers.Sam2VisionModel(vision).eval()


def verify_tokens() -> float:
    """Tokens of a photo's statements, with the photo once for each request."""
    settings = VerifySettings()
    requests = -(-TEXTS // settings.statements)
    asked = with_statements(verify_prompt(settings), [])
    text = len(asked) / 4 + settings.statements * len("10. person holding umbrella\n") / 4
    return requests * (PHOTO_TOKENS + text + settings.statements * VERDICT_TOKENS)


def counted(run) -> float:
    """Floating point operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        run()
    return float(counter.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True, metavar="FILE")
    args = parser.parse_args()
    model = detector()
    tokens = PHOTO_TOKENS + len(prompt(CaptionSettings())) / 4 + ANSWER_TOKENS
    masks = segmenter()
    operations = {
        "caption": 2 * PARAMETERS * tokens,
        "detect": counted(lambda: detect(model)),
        "segment": counted(lambda: masks(torch.zeros(1, 3, 1024, 1024, device="meta"))),
    }
    seconds = []
    with torch.inference_mode():
        detect(model)
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            detect(model)
            seconds.append(time.perf_counter() - begun)
    rate = operations["detect"] / statistics.median(seconds)
    total = sum(operations.values())
    found = {
        "operations": operations,
        "detect_seconds": seconds,
        "threads": torch.get_num_threads(),
        "operations_per_second_here": rate,
        "hours_for_1000_photos_here": total * 1000 / rate / 3600,
        "minutes_for_1000_photos_at_50_TFLOPs": total * 1000 / 50e12 / 60,
        "verify": 2 * PARAMETERS * verify_tokens(),  # not in the total
    }
    for stage, number in operations.items():
        print(f"{stage}: {number / 1e12:.2f} TFLOP a photo")
    print(f"verify, if it is on: {found['verify'] / 1e12:.2f} TFLOP more")
    print(
        f"here: {rate / 1e9:.0f} GFLOP/s in the detector, so a thousand photos would take "
        f"{found['hours_for_1000_photos_here']:.0f} h; at 50 TFLOP/s "
        f"{found['minutes_for_1000_photos_at_50_TFLOPs']:.1f} min"
    )
    Path(args.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
