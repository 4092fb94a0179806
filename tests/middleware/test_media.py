from __future__ import annotations

import pytest

from feedback_guard.middleware.media import Read, reader
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.forms import FormPolicy, Media

JSON, URLENCODED, MULTIPART, EMPTY = Media.JSON, Media.URLENCODED, Media.MULTIPART, Media.EMPTY


def read_as(
    headers: list[tuple[bytes, bytes]], *accepts: Media, query: bytes = b"", form: FormPolicy | None = None
) -> Read:
    return reader(headers, accepts, form or FormPolicy(), query)


def json_reader(headers: list[tuple[bytes, bytes]]) -> Read:
    return read_as(headers, JSON)


MEDIA = {
    "application/json": True,
    "application/json; charset=utf-8": True,
    'APPLICATION/JSON;CHARSET="UTF-8"': True,
    "application/problem+json": True,
    "application/vnd.api+json; version=1": True,
    "application/json; charset=utf-16": False,
    "application/json; charset=latin-1": False,
    "text/json": False,
    "text/plain": False,
    "application/jsonp": False,
    "application/json-seq": False,
    "application/+json": False,
    "application/x-ndjson": False,
    "application/json, text/plain": False,
    "multipart/form-data; boundary=x": False,
    "application/x-www-form-urlencoded": False,
    "": False,
}


@pytest.mark.parametrize("media", MEDIA)
def test_only_json_is_read(media: str) -> None:
    headers = [(b"content-type", media.encode())]
    if MEDIA[media]:
        json_reader(headers)
    else:
        with pytest.raises(BadInputError) as caught:
            json_reader(headers)
        assert caught.value.problem.status == 415


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"application/json"), (b"content-type", b"application/json")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"identity, gzip")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"identity"), (b"content-encoding", b"br")],
    ],
)
def test_a_missing_or_double_type_and_any_coding_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadInputError) as caught:
        json_reader(headers)
    assert caught.value.problem.status == 415


def test_identity_is_no_coding() -> None:
    json_reader([(b"content-type", b"application/json"), (b"content-encoding", b" Identity ")])


BOTH = (URLENCODED, MULTIPART)
FORMS = {
    "application/x-www-form-urlencoded": True,
    "application/x-www-form-urlencoded; charset=UTF-8": True,
    "Application/X-WWW-Form-URLencoded": False,
    "multipart/form-data; boundary=x": True,
    'multipart/form-data; boundary="----WebKitFormBoundary7MA4YWxk"': True,
    "multipart/form-data; charset=utf-8; boundary=x": True,
    "Multipart/Form-Data; boundary=x": False,
    "multipart/form-data; Boundary=x": False,
    "application/x-www-form-urlencoded; charset=latin-1": False,
    "application/x-www-form-urlencoded; charset=utf-8; charset=utf-7": False,
    "application/x-www-form-urlencoded; other=1": False,
    "application/x-www-form-urlencoded;": False,
    "application/x-www-form-urlencoded, multipart/form-data; boundary=x": False,
    "multipart/form-data": False,
    "multipart/form-data; boundary=": False,
    'multipart/form-data; boundary=""': False,
    "multipart/form-data; boundary=x; boundary=y": False,
    "multipart/form-data; boundary=x y": False,
    'multipart/form-data; boundary="x y"': False,
    "multipart/form-data; boundary=x,y": False,
    "multipart/form-data; boundary='x;y'": False,
    'multipart/form-data; boundary="x': False,
    "multipart/form-data; boundary =x": False,
    "multipart/form-data; boundary*=utf-8''x": False,
    "multipart/form-data; boundary=" + "x" * 71: False,
    "multipart/form-data; boundary=\xe9": False,
    "multipart/form-data; boundary=x; charset=utf-16": False,
    "multipart/mixed; boundary=x": False,
    "application/json": False,
    "text/plain": False,
    "": False,
}


@pytest.mark.parametrize("media", FORMS)
def test_only_forms_are_read(media: str) -> None:
    headers = [(b"content-type", media.encode("latin-1"))]
    if FORMS[media]:
        read_as(headers, *BOTH)
        return
    with pytest.raises(BadInputError) as caught:
        read_as(headers, *BOTH)
    assert caught.value.problem.status == 415


def test_the_answer_says_what_is_taken() -> None:
    with pytest.raises(BadInputError) as caught:
        read_as([(b"content-type", b"text/plain")], JSON, URLENCODED)
    assert caught.value.problem.detail == (
        "Send JSON as application/json, or as a type that ends in +json, or a form as "
        "application/x-www-form-urlencoded."
    )


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/json")], [(b"content-type", b"text/plain")]])
def test_no_body_is_an_empty_object_and_a_body_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    read = read_as(headers, EMPTY)
    assert read(b"").value == {}
    with pytest.raises(BadInputError, match="Send no body") as caught:
        read(b"{}")
    assert caught.value.problem.status == 415


def test_a_body_may_be_left_out_where_the_route_says_so() -> None:
    read = read_as([(b"content-type", b"application/json")], JSON, EMPTY)
    assert read(b"").value == {}
    assert read(b"[1]").value == [1]


@pytest.mark.parametrize("query", [b"label=evil", b"l%61bel=evil", b"x=1&label", b"Label=evil", b"label[]=evil"])
def test_a_name_in_form_and_query_is_refused(query: bytes) -> None:
    """Flask's `request.values` and PHP's `$_REQUEST` put both into one object."""
    read = read_as([(b"content-type", b"application/x-www-form-urlencoded")], URLENCODED, query=query)
    with pytest.raises(BadInputError, match="both in the form and in the query"):
        read(b"label=good")


def test_other_parameters_of_the_query_do_no_harm() -> None:
    read = read_as([(b"content-type", b"application/x-www-form-urlencoded")], URLENCODED, query=b"page=2&page=3&q")
    assert read(b"label=good").value == {"label": "good"}
