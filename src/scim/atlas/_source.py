"""What is appended: the obs rows and the counts of one AnnData, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from scim import ontology
from scim._core import keys
from scim._core.checks import check_adata, check_names
from scim.atlas._columns import arrow_type, check_columns
from scim.pp import Counts, find_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


_TAKEN = {*keys.ATLAS_COLUMNS, "obs_id", "index"}  # the last two have a meaning of their own to tiledbsoma


@dataclass(frozen=True)
class Source:
    """Cells on their way into an atlas.

    Attributes
    ----------
    obs
        The standard columns and those asked for, one row a cell.
    counts
        Their counts.
    """

    obs: pd.DataFrame
    counts: Counts

    @classmethod
    def read(
        cls,
        adata: AnnData,
        *,
        study: str | None,
        study_key: str | None,
        label_key: str | None,
        obs_columns: Sequence[str],
        layer: str | None,
    ) -> Source:
        """Check an AnnData, in memory or backed."""
        check_adata(adata)
        obs_columns = check_names("obs_columns", obs_columns)
        check_columns(adata.obs, [key for key in (study_key, label_key, *obs_columns) if key is not None])
        _check_names(obs_columns)
        frame = pd.DataFrame({keys.ATLAS_CELL_ID: adata.obs_names.astype(str)})
        frame[keys.ATLAS_STUDY] = _studies(adata.obs, study, study_key)
        frame[keys.ATLAS_LABEL], frame[keys.ATLAS_LABEL_ID] = _labels(adata.obs, label_key)
        for name in obs_columns:
            arrow_type(adata.obs[name])
            frame[name] = adata.obs[name].array
        twice = frame.duplicated([keys.ATLAS_STUDY, keys.ATLAS_CELL_ID])
        if twice.any():
            examples = frame.loc[twice, keys.ATLAS_CELL_ID].head(3).tolist()
            msg = f"{twice.sum()} cell names occur twice in a study, as {examples}; call adata.obs_names_make_unique()."
            raise ValueError(msg)
        return cls(frame, find_counts(adata, layer))


def _check_names(obs_columns: Sequence[str]) -> None:
    taken = [name for name in obs_columns if name in _TAKEN or name.startswith("soma_")]
    if taken:
        msg = f"obs_columns {taken} are names that the atlas uses itself ({sorted(_TAKEN)}); rename them."
        raise ValueError(msg)


def _studies(obs: pd.DataFrame, study: str | None, study_key: str | None) -> list[str]:
    if (study is None) == (study_key is None):
        got = "neither" if study is None else "both"
        msg = f"Expected study= (one name) or study_key= (a column of obs), got {got}."
        raise ValueError(msg)
    if study_key is None:
        return [str(study)] * len(obs)
    if obs[study_key].isna().any():
        msg = f"obs[{study_key!r}] has {int(obs[study_key].isna().sum())} missing values; every cell needs a study."
        raise ValueError(msg)
    return [str(value) for value in obs[study_key]]


def _labels(obs: pd.DataFrame, label_key: str | None) -> tuple[list[str | None], list[str | None]]:
    if label_key is None:
        return [None] * len(obs), [None] * len(obs)
    given = obs[label_key].astype(object)
    term_of = {value: ontology.term_id(str(value)) for value in given.dropna().unique()}
    name_of = {value: str(value) if term is None else ontology.term_name(term) for value, term in term_of.items()}
    return [name_of.get(value) for value in given], [term_of.get(value) for value in given]
