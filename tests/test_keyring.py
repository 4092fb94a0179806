"""Keys for kept credentials: what opens what, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.errors import CredentialError
from feedback_guard.keyring import Keyring, key_id, new_key
from feedback_guard.policy.replay import SecretSource
from feedback_guard.secrets_read import MAX_SECRET_BYTES, read_secret
from feedback_guard.store.records import Sealed

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
BEARER = b"Bearer of-ada"


@given(st.binary(max_size=2_000), st.text(min_size=1, max_size=50))
def test_what_was_sealed_opens_for_its_submission_alone(data: bytes, ident: str) -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(data, bound_to=ident)
    assert ring.open(sealed, bound_to=ident) == data
    with pytest.raises(CredentialError, match="not what was encrypted"):
        ring.open(sealed, bound_to=ident + "x")


def test_no_altered_byte_opens() -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(BEARER, bound_to="s-1")
    for place in range(len(sealed.data)):
        altered = bytearray(sealed.data)
        altered[place] ^= 1
        with pytest.raises(CredentialError):
            ring.open(Sealed(sealed.key_id, bytes(altered)), bound_to="s-1")
    for cut in (b"", sealed.data[:5], sealed.data[:12], sealed.data[:-1]):
        with pytest.raises(CredentialError):
            ring.open(Sealed(sealed.key_id, cut), bound_to="s-1")


def test_two_sealings_of_the_same_differ_and_show_nothing_of_it() -> None:
    ring = Keyring([OLD])
    one, other = (ring.seal(BEARER, bound_to="s-1") for _ in range(2))
    assert one.data != other.data
    assert BEARER not in one.data
    assert "data" not in repr(one)


def test_the_first_key_writes_and_all_of_them_read() -> None:
    sealed = Keyring([OLD]).seal(BEARER, bound_to="s-1")
    both = Keyring([NEW, OLD])
    assert both.open(sealed, bound_to="s-1") == BEARER
    again = both.seal(BEARER, bound_to="s-1")
    assert again.key_id == both.newest == key_id(NEW)
    with pytest.raises(CredentialError, match=f"need the key {key_id(OLD)}, which is not there"):
        Keyring([NEW]).open(sealed, bound_to="s-1")


def test_keys_are_read_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = new_key(), new_key()
    monkeypatch.setenv("FG_TEST_KEYS", f"{one}, {other}")
    (tmp_path / "keys").write_text(f"{one}\n{other}\n")
    from_variable = Keyring.read(SecretSource(env="FG_TEST_KEYS"))
    from_file = Keyring.read(SecretSource(file=str(tmp_path / "keys")))
    assert from_variable.ids == from_file.ids
    assert len(from_file.ids) == 2
    # Without the padding, and with the other alphabet, it is the same key.
    plain = one.rstrip("=").replace("-", "+").replace("_", "/")
    monkeypatch.setenv("FG_TEST_KEYS", plain)
    assert Keyring.read(SecretSource(env="FG_TEST_KEYS")).ids == from_file.ids[:1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("c2hvcnQ=", "key 1 is not 32 bytes in base64"),
        ("nonsense!", "key 1 is not 32 bytes"),
        (new_key() + "\nx", "key 2 is not 32 bytes"),
        (" ".join(new_key() for _ in range(65)), "at most 64"),
        ("x" * (MAX_SECRET_BYTES + 1), "more than 65536 bytes"),
    ],
    ids=["empty", "blank", "short", "nonsense", "second", "too-many", "too-long"],
)
def test_what_is_no_key_is_said_without_it(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(CredentialError, match=said) as caught:
        Keyring.read(SecretSource(file=str(tmp_path / "keys")))
    for word in text.split():
        assert len(word) < 4 or word not in str(caught.value)


def test_a_secret_that_is_not_there_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FG_TEST_KEYS", raising=False)
    with pytest.raises(CredentialError, match=r"^somewhere: the environment variable FG_TEST_KEYS is not set"):
        read_secret(SecretSource(env="FG_TEST_KEYS"), "somewhere")
    with pytest.raises(CredentialError, match=r"nothing cannot be read: No such file"):
        read_secret(SecretSource(file=str(tmp_path / "nothing")), "somewhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialError, match="binary is not a text in UTF-8"):
        read_secret(SecretSource(file=str(tmp_path / "binary")), "somewhere")


@pytest.mark.parametrize("both", [{}, {"env": "A", "file": "b"}])
def test_a_secret_is_in_one_place(both: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="in one place"):
        SecretSource.model_validate(both)
