"""Reading obs of a SOMA experiment batch by batch: which cells pass a filter, and columns of those that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim.atlas.source._experiment_rows import bounded, soma_named
from scim.index.filter import Column, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_ID = "soma_joinid"
_FEW = 0.02
"""Below this share of the cells, reading them one by one takes less than reading all."""

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    **{getattr(pa, name)(): pd.Int64Dtype() for name in ("int8", "int16", "int32", "int64")},
}
"""Types that pandas keeps whether a value is missing or not."""


def select_cells(obs: Any, where: str) -> NDArray[np.int64]:
    """Return the ascending `soma_joinid` of the cells that pass a filter; see :class:`scim.index.filter.Where`.

    Raises
    ------
    FilterError
        It cannot be read, or names an unknown column or value.
    ValueError
        No cell passes.
    """
    parsed = Where(where)
    parsed.check_columns(list(obs.keys()))
    passing: list[NDArray[np.int64]] = []
    seen: list[dict[str, Column]] = []
    for batch in _batches(obs, [name for name in parsed.columns if name != _ID], None):
        frame = batch.to_pandas(types_mapper=_NULLABLE.get)
        columns = {name: Column.of(name, frame[name]) for name in parsed.columns}
        passing.append(batch[_ID].to_numpy()[parsed.mask(columns, len(frame))])
        seen.append({name: _without_rows(column) for name, column in columns.items()})
    if seen:
        parsed.check(*seen)
    ids = np.sort(np.concatenate(passing)) if passing else np.empty(0, np.int64)
    if not ids.size:
        msg = f"No cell of {obs.uri!r} passes where={where!r}; ask for less."
        raise ValueError(msg)
    return ids


def read_columns(obs: Any, ids: NDArray[np.int64] | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of obs of the cells `ids` (ascending; all: `None`), indexed by ascending `soma_joinid`.

    Text of few values comes as a categorical.
    """
    wanted = [name for name in columns if name != _ID]
    parts = [_of(batch, ids) for batch in _batches(obs, wanted, ids)]
    table = pa.concat_tables(parts).unify_dictionaries() if parts else pa.table({name: [] for name in [_ID, *wanted]})
    found = table[_ID].to_numpy()
    if not (found[1:] > found[:-1]).all():
        table = table.take(pa.array(np.argsort(found)))
    frame: pd.DataFrame = table.select(wanted).to_pandas(types_mapper=_NULLABLE.get)
    for name in wanted:
        if isinstance(frame[name].dtype, pd.CategoricalDtype) and 2 * len(frame[name].cat.categories) > len(frame):
            frame[name] = frame[name].astype(object)
    return frame.set_index(pd.Index(table[_ID].to_numpy(), name=_ID))


def _batches(obs: Any, columns: Sequence[str], ids: NDArray[np.int64] | None) -> Iterator[pa.Table]:
    """Yield tables of bounded size in which text is coded."""
    few = ids is not None and ids.size < _FEW * obs.count and tuple(obs.index_column_names) == (_ID,)
    with bounded(obs) as opened, soma_named(obs.uri):
        for table in opened.read((pa.array(ids),) if few else (), column_names=[_ID, *columns]):
            coded = [_code(table[name]) for name in table.column_names]
            yield pa.table(coded, names=table.column_names)


def _code(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.dictionary_encode() if text else column


def _of(batch: pa.Table, ids: NDArray[np.int64] | None) -> pa.Table:
    if ids is None:
        return batch
    found = batch[_ID].to_numpy()
    places = np.minimum(np.searchsorted(ids, found), ids.size - 1)
    return batch.filter(pa.array(ids[places] == found))


def _without_rows(column: Column) -> Column:
    """Return a column that still says of which kind it is, and which texts it has."""
    values = column.values if column.kind == "text" else column.values[:1]
    return Column(column.name, column.kind, column.codes[:0], values)
