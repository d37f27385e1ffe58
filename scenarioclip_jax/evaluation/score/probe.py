"""A linear classifier on fixed features: multinomial logistic regression by AdamW.

Rate, decay and epoch are chosen by accuracy on validation; `fit` never sees other data.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from scenarioclip_jax.evaluation.settings import ProbeSettings

ENTRIES = 1 << 22  # scores of rows and classes held at once: 16 MiB


class Labeled(NamedTuple):
    features: np.ndarray  # float32 [N, D]
    labels: np.ndarray  # int [N]; -1: a class that the training split doesn't have


class Probe(NamedTuple):
    mean: np.ndarray  # [D]
    deviation: np.ndarray  # [D]
    weights: np.ndarray  # [D, C]
    bias: np.ndarray  # [C]
    choices: dict[str, Any]  # rate, decay, epoch, and their accuracy on validation

    def ranks(self, data: Labeled) -> np.ndarray:
        """The number of classes that rank before each label, int [N], with ties. Unknown classes rank last."""
        found = []
        rows = max(1, ENTRIES // max(1, len(self.bias)))
        for start in range(0, len(data.labels), rows):
            x = (data.features[start : start + rows] - self.mean) / self.deviation
            scores = x @ self.weights + self.bias
            labels = data.labels[start : start + rows]
            own = np.take_along_axis(scores, np.maximum(labels, 0)[:, None], axis=1)
            before = (~(scores < own)).sum(axis=1) - 1
            found.append(np.where(labels < 0, scores.shape[1], before))
        return np.concatenate(found)


def fit(
    train: Labeled, validation: Labeled, classes: int, settings: ProbeSettings, seed: int
) -> Probe:
    """Trains with every rate and decay; returns the best epoch of the best pair on validation.

    If accuracies are equal, the first one wins: smaller rate, smaller decay, earlier epoch.

    Raises:
      ValueError: A split is empty.
    """
    if not len(train.labels) or not len(validation.labels):
        raise ValueError("the probe needs pictures in the training and in the validation split")
    mean = train.features.mean(axis=0)
    deviation = train.features.std(axis=0) + 1e-6
    batch = min(settings.batch_size, len(train.labels))
    features = jnp.asarray((train.features - mean) / deviation)
    labels = jnp.asarray(train.labels)
    best: Probe | None = None
    for rate in sorted(settings.rates):
        for decay in sorted(settings.decays):
            params = {
                "weights": jnp.zeros((features.shape[1], classes)),
                "bias": jnp.zeros(classes),
            }
            state = _optimizer(rate, decay).init(params)
            for epoch in range(1, settings.epochs + 1):
                order = np.random.default_rng([seed, epoch]).permutation(len(train.labels))
                order = order[: len(order) // batch * batch].reshape(-1, batch)
                params, state = _epoch(params, state, features, labels, order, rate, decay)
                host = {name: np.asarray(value) for name, value in params.items()}
                probe = Probe(mean, deviation, host["weights"], host["bias"], {})
                accuracy = float(np.mean(probe.ranks(validation) < 1))
                if best is None or accuracy > best.choices["validation top1"]:
                    choices = {"rate": rate, "decay": decay, "epoch": epoch}
                    best = probe._replace(choices=choices | {"validation top1": accuracy})
    return best


def _optimizer(rate, decay) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=decay)


@jax.jit
def _epoch(params, state, features, labels, order, rate, decay):
    """Makes one pass over `order`, int [steps, batch]."""
    optimizer = _optimizer(rate, decay)

    def loss(params, rows):
        scores = features[rows] @ params["weights"] + params["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels[rows]).mean()

    def step(carry, rows):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, state), order)
    return params, state


def encode_labels(texts: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Indices of texts among the classes, int [N]; -1 for a text that isn't among them."""
    index = {text: i for i, text in enumerate(classes)}
    return np.array([index.get(text, -1) for text in texts], int)
