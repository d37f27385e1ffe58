"""Objects and relations of a photo, read out of its patch tokens over their boxes."""

import torch
from torch import nn
from torch.nn import functional

LIMIT = 10.0  # attention's logits are kept within it
LEAST = 1e-3  # of areas and squared distances
GEOMETRY = 8  # numbers that say how two boxes lie to each other


class RegionPool(nn.Module):
    """Attention over the patch tokens under a box, with one learned query for each head.

    `grid` is the number of patches in a row.
    """

    def __init__(self, width, heads, grid):
        super().__init__()
        self.heads, self.grid = heads, grid
        self.score = nn.Linear(width, heads)
        self.value = nn.Linear(width, width)

    def forward(self, tokens, boxes):
        """Pools tokens [N, T, W] of square grids over boxes [N, M, E, 4]: [N, M, E, W]."""
        weight = (LIMIT * torch.tanh(self.score(tokens).float() / LIMIT)).exp()[..., None]
        value = self.value(tokens).unflatten(-1, (self.heads, -1))  # [N, T, heads, W / heads]
        covered = coverage(boxes, self.grid)
        with torch.autocast(tokens.device.type, enabled=False):  # sums of weights overflow float16
            total = torch.einsum("nmet,nthd->nmehd", covered, weight * value.float())
            share = torch.einsum("nmet,nthd->nmehd", covered, weight)
        return (total / share.clamp(min=1e-12)).flatten(-2).to(tokens.dtype)


class Expansion(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, inputs, width):
        super().__init__()
        self.expand = nn.Linear(inputs, 4 * width)
        self.reduce = nn.Linear(4 * width, width)

    def hidden(self, x):
        return functional.gelu(self.expand(x))


class BoxHead(Expansion):
    """What is in one box: a + f(a), where a is what was pooled over it, and over its parts."""

    def __init__(self, width, parts):
        super().__init__(width, width)
        self.parts = parts
        if parts > 1:
            self.mix = nn.Linear(parts**2 * width, width, bias=False)

    def cut(self, boxes):
        """The boxes to pool of each [..., 4]: the whole, then its parts row by row, [..., 1 + parts, 4]."""
        boxes = boxes[..., None, :]
        if self.parts == 1:
            return boxes
        return torch.cat([boxes, cut_box(boxes, self.parts)], dim=-2)

    def forward(self, pooled):
        one = pooled[..., 0, :]
        if self.parts > 1:
            one = one + self.mix(pooled[..., 1:, :].flatten(-2))
        return one + self.reduce(self.hidden(one))


class PairHead(Expansion):
    """What two boxes are to each other, whichever comes first: (a + b) / 2 + f(a, b) + f(b, a)."""

    def __init__(self, read, width):
        super().__init__(2 * read + GEOMETRY, width)

    def forward(self, pooled, objects, boxes):
        ends = torch.cat([pooled, objects], dim=-1)

        def one_way(a, b):
            lies = geometry(boxes[..., a, :], boxes[..., b, :]).to(pooled.dtype)
            return self.hidden(torch.cat([ends[..., a, :], ends[..., b, :], lies], dim=-1))

        return pooled.mean(-2) + self.reduce(one_way(0, 1) + one_way(1, 0))


class Regions(nn.Module):
    """Pools boxes at the levels `object` and `relation`."""

    def __init__(self, width, heads, grid, parts, ends_as_objects):
        super().__init__()
        self.ends_as_objects = ends_as_objects
        read = 2 * width if ends_as_objects else width
        of_boxes = {"object": BoxHead(width, parts), "relation": PairHead(read, width)}
        self.pool = nn.ModuleDict({level: RegionPool(width, heads, grid) for level in of_boxes})
        self.boxes = nn.ModuleDict(of_boxes)

    def forward(self, tokens, boxes, level):
        """Tokens [N, T, W] and boxes [N, M, E, 4], as shares of the picture: [N, M, W]."""
        boxes = boxes.float()
        if level == "object":
            return self.objects(tokens, boxes)[..., 0, :]
        pooled = self.pool[level](tokens, boxes)
        ends = self.objects(tokens, boxes) if self.ends_as_objects else pooled[..., :0]
        return self.boxes[level](pooled, ends, boxes)

    def objects(self, tokens, boxes):
        """What is in each of the E boxes: [N, M, E, W]."""
        head = self.boxes["object"]
        cut = head.cut(boxes)  # [N, M, E, 1 + parts, 4]
        pooled = self.pool["object"](tokens, cut.flatten(2, 3))
        return head(pooled.unflatten(2, cut.shape[2:4]))


def cut_box(boxes, parts):
    """Cuts each box [..., 1, 4] into equal ones, row by row: [..., parts * parts, 4]."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    place = torch.arange(parts, device=boxes.device)
    row, column = place.repeat_interleave(parts), place.repeat(parts)
    width, height = (x1 - x0) / parts, (y1 - y0) / parts
    left, top = x0 + column * width, y0 + row * height
    return torch.stack([left, top, left + width, top + height], dim=-1)


def coverage(boxes, grid):
    """The share of each patch that a box covers, patches row by row: [..., grid * grid]."""
    start = torch.arange(grid, dtype=boxes.dtype, device=boxes.device)

    def along(low, high):
        # No box is thinner than a hundredth of a patch, or outside.
        low = (low * grid).clamp(0, grid - 0.01)
        high = torch.maximum(high * grid, low + 0.01).clamp(max=grid)
        covered = torch.minimum(start + 1, high[..., None]) - torch.maximum(start, low[..., None])
        return covered.clamp(0, 1)

    x0, y0, x1, y1 = boxes.unbind(-1)
    return (along(y0, y1)[..., :, None] * along(x0, x1)[..., None, :]).flatten(-2)


def geometry(a, b):
    """How box a lies to box b: offset, direction, sizes, overlap."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.unbind(-1), b.unbind(-1)
    area_a = ((ax1 - ax0) * (ay1 - ay0)).clamp(min=LEAST)
    area_b = ((bx1 - bx0) * (by1 - by0)).clamp(min=LEAST)
    wide = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    high = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    both = wide * high
    dx, dy = (ax0 + ax1 - bx0 - bx1) / 2, (ay0 + ay1 - by0 - by1) / 2
    distance = (dx * dx + dy * dy + LEAST).sqrt()
    features = (dx, dy, dx / distance, dy / distance, (area_a / area_b).log() / 2)
    return torch.stack((*features, area_a.sqrt(), both / area_a, both / area_b), dim=-1)
