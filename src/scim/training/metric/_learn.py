"""A Mahalanobis metric of rows, learned from their labels under the losses of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scim._core import check_choice, check_rng, logger
from scim._core.no_label import read_labels, read_names
from scim.io.cells import check_sparse
from scim.model._config import check_number
from scim.training.linear import LINEAR, Block, fit_linear, single_study, whitened
from scim.training.loop._config import TrainConfig
from scim.training.loop._loop import deterministic
from scim.training.loop._sampling import balanced_weights
from scim.training.losses import LOSSES, relations
from scim.training.metric._metric import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from scim.training.losses import Loss
    from scim.training.metric._metric import Rows

BY_GRADIENT = ("triplet", "contrastive")  # the losses of distances; those of cosines need rows of length 1
_DENSE_ROWS = 1024  # at a time, of csr


def learn_metric(
    X: Rows,
    labels: ArrayLike,
    *,
    studies: ArrayLike | None = None,
    rank: int | None = None,
    config: TrainConfig | None = None,
    rng: int | np.random.Generator | None = None,
) -> Metric:
    r"""Learn a Mahalanobis metric in which rows of a label are near each other.

    The rows may be an embedding, principal components, or expression. With `"triplet"` and `"contrastive"` the L of
    :math:`M = L^T L` is learned by gradient descent on batches of rows, so M is positive semi-definite and of rank
    `rank` at most. L starts as the Mahalanobis distance by the covariance within labels. The other objectives are the
    linear maps of :func:`scim.model.train`, of the given rows.

    Parameters
    ----------
    X
        Rows, shape (n, dim), csr or dense.
    labels
        Label of each row: Cell Ontology ids or names, or free words. Rows without one are left out: None, NaN, and
        words such as "unknown", see :func:`scim.ontology.standardize`. Labels of which one is an ancestor of the other
        in the Cell Ontology are not pushed apart.
    studies
        Study of each row. With `config.positives="across"` pairs of a label are of different studies, so that
        differences between studies count less. Default: one study.
    rank
        Rows of L; at most `dim`. Default: as many as there are directions in the rows, at most 256.
    config
        The loss (`objective`: `"triplet"`, `"contrastive"`, `"whitening"`, `"lda"`, `"linear_nca"`, `"lmnn"`,
        `"itml"`), and of its settings `margin`, `mining`, `distance`, `average`, `per_anchor`, `positives`,
        `label_perturbation`, `push_weight`, `n_steps`, `batch_size`, `lr`, `weight_decay`, `class_balance`,
        `study_balance`. Distances are scaled first, so that the mean squared distance of two rows is 2, as of unit
        vectors in random directions. Default: `"contrastive"`.
    rng
        Seed or generator.

    Returns
    -------
    :class:`Metric`: `distances`, `transform`, and the matrices `L` and `M`.

    Raises
    ------
    ValueError
        The objective is of cosines or of two views, sizes do not agree, there is one label only, or X has values that
        are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import scim
    >>> random = np.random.default_rng(0)
    >>> labels = np.repeat(["a", "b"], 50)
    >>> X = random.normal(size=(100, 3)) * [1, 1, 20] + (labels == "a")[:, None] * [4, 0, 0]
    >>> config = scim.model.TrainConfig(objective="triplet", distance="squared", n_steps=20, batch_size=50)
    >>> metric = scim.model.learn_metric(X, labels, config=config, rng=0)
    >>> bool(metric.M[0, 0] > 10 * metric.M[2, 2])
    True
    """
    config = TrainConfig(objective="contrastive") if config is None else config
    check_choice("config.objective", config.objective, (*BY_GRADIENT, *LINEAR))
    rows = _labelled(X, labels, studies, config)
    if rank is not None:
        check_number("rank", rank, whole=True, least=1, most=rows.X.shape[1])
    random = check_rng(rng)
    if config.objective in LINEAR:
        n = rows.X.shape[1] if rank is None else rank
        options: dict[str, Any] = {"latent_dim": n, "random": random, "push_weight": config.push_weight}
        return Metric(fit_linear(config.objective, rows.blocks, **options).weight.astype(np.float64))
    T, start = whitened(rows.blocks, random, rank)
    Z = np.concatenate([np.asarray(block.X @ T.T, dtype=np.float32) for block in rows.blocks()])
    Z -= rows.weights.astype(np.float32) @ Z  # distances of float32 are exact near 0 only
    return Metric(_descend(Z, rows, start, config, random) @ T)


class _Labelled(NamedTuple):
    """Rows with labels."""

    X: Rows
    """(n, dim)"""
    names: list[str]
    """of the labels"""
    label: NDArray[np.int64]
    """(n,) codes"""
    study: NDArray[np.int64]
    """(n,) codes"""
    weights: NDArray[np.float64]
    """(n,) probabilities with which a batch has the rows"""

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in dense parts."""
        for start in range(0, len(self.label), _DENSE_ROWS):
            rows = slice(start, start + _DENSE_ROWS)
            x = self.X[rows].toarray() if sparse.issparse(self.X) else self.X[rows]
            yield Block(np.asarray(x, dtype=np.float32), self.label[rows], self.weights[rows], self.study[rows])


def _labelled(X: Rows, labels: ArrayLike, studies: ArrayLike | None, config: TrainConfig) -> _Labelled:
    """Check rows, labels and studies, and leave out rows without a label."""
    if sparse.issparse(X):
        check_sparse(X, "X")
        X = X.tocsr()
    else:
        X = np.asarray(X)
    if X.ndim != 2:
        msg = f"X must have shape (n, dim), got {X.shape}."
        raise ValueError(msg)
    for name, values in (("labels", labels), ("studies", labels if studies is None else studies)):
        if (shape := np.shape(values)) != X.shape[:1]:
            msg = f"{name} must have one value for each of {X.shape[0]} rows, got shape {shape}."
            raise ValueError(msg)
    label = read_labels(labels)
    kept = np.flatnonzero(label.present)
    codes, names = pd.factorize(label.texts[kept], sort=True)
    if len(names) < 2:
        msg = f"A metric tells labels apart; expected rows of at least two, got {len(names)}."
        raise ValueError(msg)
    if label.n_missing:
        logger.info("%d of %d rows have no label and are left out", label.n_missing, len(label.values))
    study = read_names(np.zeros(len(kept)) if studies is None else np.asarray(studies, dtype=object)[kept])
    if study.n_missing:
        msg = f"studies must name one for each row with a label: {study.describe('study')}."
        raise ValueError(msg)
    of_study, codes = np.asarray(study.values.codes, dtype=np.int64), np.asarray(codes, dtype=np.int64)
    weights = balanced_weights(codes, of_study, config.class_balance, config.study_balance)
    return _Labelled(X[kept], list(names), codes, of_study, weights)


def _descend(
    Z: NDArray[np.float32],
    rows: _Labelled,
    start: NDArray[np.float64],
    config: TrainConfig,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Minimise the loss of the rows Z @ L.T over L, from a start, by AdamW on batches of rows drawn by weight."""
    loss, generator = _make_loss(rows, config), torch.Generator().manual_seed(int(random.integers(2**62)))
    L = torch.nn.Parameter(torch.from_numpy(start.astype(np.float32)))
    optimizer = torch.optim.AdamW([L], lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.n_steps)
    with deterministic(torch.device("cpu")):
        for _ in range(config.n_steps):
            drawn = random.choice(len(Z), size=config.batch_size, p=rows.weights)
            z, label, study = (torch.from_numpy(values[drawn]) for values in (Z, rows.label, rows.study))
            value = loss([z @ L.T], label, study, generator)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    return L.detach().numpy().astype(np.float64)


def _make_loss(rows: _Labelled, config: TrainConfig) -> Loss:
    within = np.ones(len(rows.names), dtype=np.bool_)
    if config.positives == "across":
        within[rows.label] = single_study(rows.label, rows.study)
    loss, settings = LOSSES[config.objective]
    labelled = relations(rows.names), torch.from_numpy(within), config.label_perturbation
    return loss(*labelled, **{name: getattr(config, name) for name in settings})
