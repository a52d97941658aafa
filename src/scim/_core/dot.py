"""Dot products of small whole numbers, with the instructions that processors have for them.

VNNI multiplies 32 pairs of bytes and adds them up in one instruction; AVX2 takes three, for factors below 16; elsewhere
a plain loop does it. Which one is decided when a kernel is compiled, from the processor it is compiled for; numba's
cache is kept apart by processor. The sums are whole numbers, so all give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import config, types  # noqa: TID251  (beside `_core.numba`: instructions cannot be had otherwise)
from numba.core import cgutils as _cgutils  # noqa: TID251
from numba.extending import intrinsic  # noqa: TID251

from scim._core.numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Ints32

    Bytes = NDArray[np.uint8]
    Query = NDArray[np.int8]

cgutils: Any = _cgutils  # has no types
BLOCK = 32  # bytes that are multiplied at a time: codes are padded to a multiple of it
_VNNI = {"+avx512vnni", "+avxvnni"}
_LINE = 64  # bytes of a cache line
_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES, _VECTOR = ir.VectorType(_BYTE, BLOCK), ir.VectorType(_INT32, BLOCK // 4)
_SHORTS = ir.VectorType(ir.IntType(16), BLOCK // 2)


def plain_byte_dots(codes: Bytes, place: int, n_rows: int, query: Query, out: Ints32, at: int) -> None:
    """Write the dots of `n_rows` rows of bytes from `place` on with the query to `out`, from `at` on."""
    for i in range(n_rows):
        row = codes[place + i]
        total = np.int32(0)
        for d in range(row.shape[0]):
            total += np.int32(row[d]) * np.int32(query[d])
        out[at + i] = total


def plain_nibble_dots(codes: Bytes, place: int, n_rows: int, query: Query, out: Ints32, at: int) -> None:
    """Do the same for rows of half bytes: of each block the lower halves come first, then the upper ones."""
    for i in range(n_rows):
        row = codes[place + i]
        total = np.int32(0)
        for start in range(0, row.shape[0], BLOCK):
            low, high = query[2 * start : 2 * start + BLOCK], query[2 * start + BLOCK : 2 * start + 2 * BLOCK]
            block = row[start : start + BLOCK]
            for d in range(BLOCK):
                total += np.int32(block[d] & 15) * np.int32(low[d]) + np.int32(block[d] >> 4) * np.int32(high[d])
        out[at + i] = total


_PLAIN = {False: njit(plain_byte_dots), True: njit(plain_nibble_dots)}


def _dots(n_rows: int, *, halves: bool) -> Any:
    """Return what the plain functions do for 1 or 4 rows, for use inside kernels."""
    same = _PLAIN[halves]

    def plain(codes: Any, place: Any, query: Any, out: Any, at: Any) -> None:
        same(codes, place, n_rows, query, out, at)

    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # set when numba starts
        return plain

    def dots(_context: Any, codes: Any, place: Any, query: Any, out: Any, at: Any) -> Any:  # noqa: ARG001
        signature = types.void(codes, types.int64, query, out, types.int64)
        return signature, _generate

    def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        features = set(context.codegen().magic_tuple()[2].split(","))
        if not features & {*_VNNI, "+avx2"}:
            return context.compile_internal(builder, plain, signature, args)
        codes, query, out = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 2, 3))
        add = _add_vnni if features & _VNNI else _add_avx2
        sums = _multiply(builder, codes, args[1], query, n_rows, add, halves=halves)
        lanes = _sum_lanes(builder, sums)
        target = builder.gep(out.data, [args[4]])
        builder.store(lanes, builder.bitcast(target, lanes.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return intrinsic(dots)


def _multiply(builder: Any, codes: Any, place: Any, query: Any, n_rows: int, add: Any, *, halves: bool) -> list[Any]:
    """Emit the loop over blocks; return a vector of partial sums for each row."""
    width = builder.extract_value(codes.shape, 1)
    first = builder.gep(codes.data, [builder.mul(place, width)])
    starts = [builder.gep(first, [builder.mul(_INT64(row), width)]) for row in range(n_rows)]
    rows = [builder.bitcast(start, _VECTOR.as_pointer()) for start in starts]
    others = builder.bitcast(query.data, _VECTOR.as_pointer())
    sums = [cgutils.alloca_once(builder, _VECTOR) for _ in rows]
    for total in sums:
        builder.store(_all(0), total)
    with cgutils.for_range(builder, builder.udiv(width, _INT64(BLOCK))) as loop:
        at = builder.mul(loop.index, _INT64(1 + halves))
        part = [builder.load(builder.gep(others, [builder.add(at, _INT64(i))]), align=1) for i in range(1 + halves)]
        for row, total in zip(rows, sums, strict=True):
            block = builder.load(builder.gep(row, [loop.index]), align=1)
            added = builder.load(total)
            if halves:
                added = add(builder, added, _upper(builder, block), part[1], small=True)
                block = _lower(builder, block)
            builder.store(add(builder, added, block, part[0], small=halves), total)
    return [builder.load(total) for total in sums]


def _add_vnni(builder: Any, total: Any, block: Any, query: Any, *, small: bool) -> Any:  # noqa: ARG001  (any byte will do)
    """Emit `total` plus the products of 32 bytes, four of them to a lane."""
    return _call(builder, "llvm.x86.avx512.vpdpbusd.256", _VECTOR, total, block, query)


def _add_avx2(builder: Any, total: Any, block: Any, query: Any, *, small: bool) -> Any:
    """Do the same where pairs are added up in 16 bits, which hold them if the bytes of the block are below 16."""
    if not small:
        upper = _add_avx2(builder, _all(0), _upper(builder, block), query, small=True)
        total, block = builder.add(total, builder.shl(upper, _all(4))), _lower(builder, block)
    bytes_, others = (builder.bitcast(part, _BYTES) for part in (block, query))
    pairs = _call(builder, "llvm.x86.avx2.pmadd.ub.sw", _SHORTS, bytes_, others)
    ones = ir.Constant(_SHORTS, [1] * _SHORTS.count)
    return builder.add(total, _call(builder, "llvm.x86.avx2.pmadd.wd", _VECTOR, pairs, ones))


def _call(builder: Any, name: str, kind: Any, *args: Any) -> Any:
    function = ir.FunctionType(kind, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)


def _lower(builder: Any, block: Any) -> Any:
    return builder.and_(block, _all(0x0F0F0F0F))


def _upper(builder: Any, block: Any) -> Any:
    return _lower(builder, builder.lshr(block, _all(4)))


def _all(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * _VECTOR.count)


def _sum_lanes(builder: Any, sums: list[Any]) -> Any:
    """Emit the sums over lanes: of one vector an int32, of four, which share most steps, a vector of four."""
    if len(sums) == 1:
        return _call(builder, f"llvm.vector.reduce.add.v{_VECTOR.count}i32", _INT32, sums[0])
    a, b, c, d = sums
    n = _VECTOR.count
    pairs = [_fold(builder, x, y, [0, n, 1, n + 1], [2, n + 2, 3, n + 3]) for x, y in ((a, b), (c, d))]
    quads = _fold(builder, pairs[0], pairs[1], [0, 1, n, n + 1], [2, 3, n + 2, n + 3])
    return builder.add(*(_shuffle(builder, quads, quads, [*range(i, i + 4)]) for i in (0, 4)))


def _fold(builder: Any, x: Any, y: Any, low: list[int], high: list[int]) -> Any:
    """Emit the sum of two interleavings, given for the first group of four lanes."""
    parts = [[group + lane for group in range(0, _VECTOR.count, 4) for lane in lanes] for lanes in (low, high)]
    return builder.add(*(_shuffle(builder, x, y, part) for part in parts))


def _shuffle(builder: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes))


# `byte_dot(codes, place, query, out, at)` writes the dot of a row of codes (n, width) with a query (>= width,) to
# `out[at]`, of half bytes with a query (>= 2 * width,); `dots` those of four rows, to `out[at : at + 4]`.
byte_dot, byte_dots = _dots(1, halves=False), _dots(4, halves=False)
nibble_dot, nibble_dots = _dots(1, halves=True), _dots(4, halves=True)


def _fetch_row(_context: Any, rows: Any, place: Any) -> Any:  # noqa: ARG001
    """Emit prefetches of the cache lines of a row."""

    def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = context.make_array(signature.args[0])(context, builder, args[0])
        width = builder.extract_value(rows.shape, 1)
        first = builder.bitcast(builder.gep(rows.data, [builder.mul(args[1], width)]), _BYTE.as_pointer())
        size = builder.mul(width, _INT64(context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))))
        lines = builder.udiv(builder.add(size, _INT64(_LINE - 1)), _INT64(_LINE))
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT32, _INT32, _INT32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range(builder, lines) as loop:
            line = builder.gep(first, [builder.mul(loop.index, _INT64(_LINE))])
            builder.call(prefetch, [line, _INT32(0), _INT32(3), _INT32(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(rows, types.int64), _generate


# `fetch_row(rows, place)` starts to read a row that will be needed soon; harmless beyond the end.
fetch_row: Any = (lambda *_: None) if config.DISABLE_JIT else intrinsic(_fetch_row)  # type: ignore[attr-defined]
