"""Compute the checksums of our formats again after a change, as a forger would; this does not use the code under test."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def reseal(root: Path) -> None:
    """Write the true sizes and checksums into every header, inventory and manifest of a folder."""
    if not root.is_dir():
        return
    files = [file for file in sorted(root.rglob("*.json")) if file.is_file() and not file.is_symlink()]
    # What lists others comes after them: headers of folders, inventories, manifests of commits, the manifest.
    for file in sorted(files, key=lambda file: (_rank(file, root), str(file))):
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            continue
        if not isinstance(content, dict):
            continue
        folder = root if _rank(file, root) else file.parent
        _update(content, folder)
        if isinstance(content.get("sha256"), str):
            rest = {key: value for key, value in content.items() if key != "sha256"}
            content["sha256"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
        file.write_text(json.dumps(content))


def _rank(file: Path, root: Path) -> int:
    top = file.relative_to(root).parts[0]
    return {"ledger": 1, "commits": 2, "atlas.json": 3}.get(top, 0)


def _update(node: Any, folder: Path) -> None:
    if isinstance(node, list):
        for part in node:
            _update(part, folder)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        file = _file(folder, key) or _file(folder, f"{key}.npy")
        if file is not None and isinstance(value, dict) and "sha256" in value:  # a header: {name: {bytes, sha256}}
            value.update(sha256=_sha256(file), **({"bytes": file.stat().st_size} if "bytes" in value else {}))
        elif file is not None and isinstance(value, list) and len(value) == 2 and value[1] is not None:
            node[key] = [file.stat().st_size, _sha256(file)]  # an inventory: {name: [bytes, sha256]}
        elif file is not None and isinstance(value, str) and len(value) == 64:  # {name: sha256}
            node[key] = _sha256(file)
        else:
            _update(value, folder)
    named = _file(folder, node.get("name"))
    if named is not None and isinstance(node.get("sha256"), str):  # a manifest: {name, sha256}
        node["sha256"] = _sha256(named)
    header = _file(folder, f"{node.get('folder')}/index.json")
    if header is not None and "digest" in node:
        node["digest"] = _sha256_of_header(header)


def _sha256_of_header(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes()).get("sha256")
    except (ValueError, AttributeError, RecursionError):
        return None


def _file(folder: Path, name: Any) -> Path | None:
    try:
        path = folder / name
        return path if path.is_file() and path.stat().st_size < 1 << 32 and not path.is_symlink() else None
    except (TypeError, ValueError, OSError):
        return None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
