"""Three pairs of CLIP towers, one a level, with heads; the first blocks and the embeddings are frozen."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

LEVELS = ("global", "object", "relation")


class Branch(nn.Module):
    """One level: a vision and a text tower, each with linear and layer norm behind its pooled output."""

    def __init__(self, vision: CLIPVisionConfig, text: CLIPTextConfig, embed_dim: int):
        super().__init__()
        self.visual_encoder = CLIPVisionModel(vision)
        self.text_encoder = CLIPTextModel(text)
        self.image_projection = nn.Linear(vision.hidden_size, embed_dim)
        self.image_norm = nn.LayerNorm(embed_dim)
        self.text_projection = nn.Linear(text.hidden_size, embed_dim)
        self.text_norm = nn.LayerNorm(embed_dim)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """[N, 3, P, P] to [N, D]."""
        return self.image_norm(self.image_projection(self.visual_encoder(pixels).pooler_output))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """[N, L] to [N, D]; the causal mask makes a padding mask needless."""
        return self.text_norm(self.text_projection(self.text_encoder(ids).pooler_output))


class PeerModel(nn.Module):
    """The model of `scenario_clip_1`.

    Args:
      frozen_vision, frozen_text: blocks of each tower that are frozen, with the embeddings. `pre_layrnorm`,
        between frozen parts, trains, as published.
    """

    def __init__(
        self,
        vision: CLIPVisionConfig,
        text: CLIPTextConfig,
        embed_dim: int = 512,
        frozen_vision: int = 6,
        frozen_text: int = 10,
    ):
        super().__init__()
        self.branches = nn.ModuleDict({v: Branch(vision, text, embed_dim) for v in LEVELS})
        for branch in self.branches.values():
            towers = ((branch.visual_encoder, frozen_vision), (branch.text_encoder, frozen_text))
            for tower, blocks in towers:
                tower.embeddings.requires_grad_(False)
                tower.encoder.layers[:blocks].requires_grad_(False)

    def forward(
        self, images: Mapping[str, torch.Tensor], ids: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Embeddings [N, D] of images and of texts, by the levels that are given."""
        return (
            {level: self.branches[level].image(x) for level, x in images.items()},
            {level: self.branches[level].text(x) for level, x in ids.items()},
        )
