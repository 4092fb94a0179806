"""Forms: what browsers and clients write is read; whatever parsers disagree on is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard import settings as bounds
from feedback_guard.middleware.fields import as_object, look_up
from feedback_guard.middleware.multipart import read_parts
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.urlencoded import read_pairs
from tests.costs import cheaper_than

URLENCODED: dict[str, tuple[bytes, dict[str, str]]] = {
    "browser": (
        b"input=where+is+my+card%3F&label=card_arrival",
        {"input": "where is my card?", "label": "card_arrival"},
    ),
    "empty form": (b"", {}),
    "empty value": (b"input=&label=x", {"input": "", "label": "x"}),
    "equals in a value": (b"input=a=b==&label=x", {"input": "a=b==", "label": "x"}),
    "line ends as browsers write them": (b"input=a%0D%0Ab", {"input": "a\r\nb"}),
    "not ASCII": (b"input=%C3%A9%F0%9F%98%80", {"input": "é😀"}),
    "name with escapes": (b"l%61bel=x", {"label": "x"}),
    "plain punctuation": (b"input=a/b:c,d!(e)'f'*~@$?<\"#>", {"input": "a/b:c,d!(e)'f'*~@$?<\"#>"}),
    "separators that are escaped": (b"input=a%26b%3Dc%3Bd%2B", {"input": "a&b=c;d+"}),
    "brackets": (b"a%5Bb%5D=1&a[c]=2", {"a[b]": "1", "a[c]": "2"}),
    "charset that is UTF-8": (b"_charset_=UTF-8&a=b", {"_charset_": "UTF-8", "a": "b"}),
}
NOT_URLENCODED = {
    "twice": b"label=a&label=b",
    "twice, same value": b"label=a&label=a",
    "twice, escaped": b"label=a&l%61bel=b",
    "twice, semicolon": b"label=a;label=b",
    "semicolon in a value": b"label=a;b",
    "other case": b"label=a&Label=b",
    "brackets beside none": b"label=a&label[]=b",
    "brackets before none": b"label[0]=a&label=b",
    "deeper brackets": b"a[b]=1&a[b][c]=2",
    "PHP: dot and underscore": b"a.b=1&a_b=2",
    "PHP: space and underscore": b"a+b=1&a_b=2",
    "PHP: open bracket": b"a[b=1",
    "PHP: text after brackets": b"a[b]c=1",
    "bracket first": b"[a]=1",
    "no value": b"label",
    "no value among others": b"input=a&label",
    "no name": b"=a",
    "empty pair": b"a=1&&b=2",
    "separator at the end": b"a=1&",
    "separator at the beginning": b"&a=1",
    "lone percent": b"a=100%",
    "percent and letters": b"a=%zz",
    "percent and one digit": b"a=%4",
    "percent u": b"a=%u0061",
    "percent in a name": b"a%25b=1",
    "space": b"a=b c",
    "line end": b"a=b\r\n",
    "tab": b"a=\tb",
    "NUL": b"a=b%00c",
    "NUL in a name": b"a%00=b",
    "raw NUL": b"a=b\x00",
    "byte order mark in a value": b"a=%EF%BB%BFb",
    "byte order mark in the body": b"\xef\xbb\xbfa=b",
    "raw UTF-8": "a=é".encode(),
    "latin-1": b"a=%E9",
    "overlong": b"a=%C0%AF",
    "surrogate": b"a=%ED%A0%80",
    "UTF-16": "a=b".encode("utf-16"),
    "name that is not ASCII": b"%C3%A9=1",
    "name with a quote": b"a%22=1",
    "name with a semicolon": b"a%3B=1",
    "name with a line end": b"a%0A=1",
    "name with a space at its end": b"a+=1",
    "other charset": b"_charset_=ISO-8859-1&a=b",
    "long name": b"a" * 257 + b"=1",
    "many fields": b"&".join(b"a%d=1" % n for n in range(1_001)),
    "JSON": b'{"a": 1}',
}


@pytest.mark.parametrize("name", URLENCODED)
def test_an_urlencoded_form_is_read(name: str) -> None:
    data, expected = URLENCODED[name]
    assert as_object(read_pairs(data)) == expected


@pytest.mark.parametrize("name", NOT_URLENCODED)
def test_an_urlencoded_form_with_two_readings_is_refused(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        as_object(read_pairs(NOT_URLENCODED[name]))
    assert caught.value.problem.status == 400
    assert caught.value.problem.code == "bad_form"


def part(name: str, value: str, *more: str, end: str = "\r\n") -> str:
    return end.join([f'Content-Disposition: form-data; name="{name}"', *more, "", value])


def form(*parts: str, boundary: str = "BOUND", end: str = "\r\n", last: str = "--\r\n") -> bytes:
    return ("".join(f"--{boundary}{end}{text}{end}" for text in parts) + f"--{boundary}{last}").encode(
        "utf-8", "surrogateescape"
    )


A, B = part("input", "a"), part("label", "b")
FILE = 'Content-Disposition: form-data; name="doc"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nany\x00thing'
MULTIPART: dict[str, tuple[bytes, dict[str, str]]] = {
    "two fields": (form(A, B), {"input": "a", "label": "b"}),
    "no fields": (form(), {}),
    "Werkzeug: a line end before": (b"\r\n" + form(A), {"input": "a"}),
    "no line end at the end": (form(A, last="--"), {"input": "a"}),
    "empty value": (form(part("input", "")), {"input": ""}),
    "value with line ends": (form(part("input", "\r\n\r\na\r\n")), {"input": "\r\n\r\na\r\n"}),
    "value with dashes": (form(part("input", "--\r\n--BOUN\r\n--")), {"input": "--\r\n--BOUN\r\n--"}),
    "not ASCII": (form(part("input", "é😀")), {"input": "é😀"}),
    "text in UTF-8": (form(part("input", "é", "Content-Type: text/plain; charset=UTF-8")), {"input": "é"}),
    ".NET: type first, name without quotes": (
        form("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=input\r\n\r\na"),
        {"input": "a"},
    ),
    "field names in small letters": (form('content-disposition: form-data; name="input"\r\n\r\na'), {"input": "a"}),
    "brackets": (form(part("a[0][b]", "1"), part("a[1][b]", "2")), {"a[0][b]": "1", "a[1][b]": "2"}),
    "empty file input of a browser": (
        form(
            A,
            'Content-Disposition: form-data; name="doc"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n',
        ),
        {"input": "a"},
    ),
    "file": (form(A, FILE), {"input": "a"}),
    "file name that is not ASCII": (form(A, FILE.replace("x.txt", "é x.txt")), {"input": "a"}),
}
NOT_MULTIPART = {
    "empty": b"",
    "nothing but the mark": b"--BOUND",
    "preamble": b"hello\r\n" + form(A),
    "two line ends before": b"\r\n\r\n" + form(A),
    "line feed before": b"\n" + form(A),
    "epilogue": form(A) + b"hello",
    "second line end": form(A) + b"\r\n",
    "second form": form(A) + form(B),
    "no end": form(A, last="\r\n"),
    "cut off": form(A)[:-6],
    "end in the middle": form(A, last="--\r\n") + form(B),
    "line feeds": form(part("input", "a", end="\n"), end="\n", last="--\n"),
    "line feeds between parts": form(A, B, end="\n"),
    "line feeds in the head": form(part("input", "a", end="\n")),
    "one line feed before a boundary": form(A).replace(b"a\r\n--BOUND", b"a\n--BOUND"),
    "boundary within a value": form(part("input", "x\r\n--BOUNDARY\r\ny")),
    "boundary within a line": form(part("input", "x --BOUND y")),
    "space after a boundary": form(A, B).replace(b"--BOUND\r\n", b"--BOUND \r\n"),
    "tab after the last boundary": form(A, last="--\t\r\n"),
    "no head": form("\r\na"),
    "no blank line": form('Content-Disposition: form-data; name="a"'),
    "empty part": form(""),
    "twice": form(A, A),
    "twice in another case": form(A, part("Input", "b")),
    "brackets beside none": form(A, part("input[]", "b")),
    "no disposition": form("Content-Type: text/plain\r\n\r\na"),
    "two dispositions": form('Content-Disposition: form-data; name="x"\r\n' + A),
    "attachment": form('Content-Disposition: attachment; name="input"\r\n\r\na'),
    "no name": form("Content-Disposition: form-data\r\n\r\na"),
    "empty name": form(part("", "a")),
    "two names": form('Content-Disposition: form-data; name="a"; name="b"\r\n\r\nx'),
    "name*": form("Content-Disposition: form-data; name*=utf-8''input\r\n\r\na"),
    "name and name*": form("Content-Disposition: form-data; name=\"input\"; name*=utf-8''label\r\n\r\na"),
    "filename*": form("Content-Disposition: form-data; name=\"doc\"; filename*=utf-8''x.txt\r\n\r\na"),
    "filename and filename*": form(
        'Content-Disposition: form-data; name="doc"; filename="x"; filename*=utf-8\'\'y\r\n\r\na'
    ),
    "filename before the name": form('Content-Disposition: form-data; filename="x"; name="doc"\r\n\r\na'),
    "escaped quote in a name": form('Content-Disposition: form-data; name="in\\"put"\r\n\r\na'),
    "quote in a name as browsers write it": form(part("in%22put", "a")),
    "backslash in a file name": form('Content-Disposition: form-data; name="doc"; filename="C:\\x"\r\n\r\na'),
    "semicolon in a file name": form('Content-Disposition: form-data; name="doc"; filename="a; name=input"\r\n\r\na'),
    "unclosed quote": form('Content-Disposition: form-data; name="input\r\n\r\na'),
    "capital form-data": form('Content-Disposition: FORM-DATA; name="input"\r\n\r\na'),
    "folded head": form('Content-Disposition: form-data;\r\n name="input"\r\n\r\na'),
    "head with a carriage return": form('Content-Disposition: form-data; name="in\rput"\r\n\r\na'),
    "head with NUL": form('Content-Disposition: form-data; name="in\x00put"\r\n\r\na'),
    "no space after the colon": form('Content-Disposition:form-data; name="input"\r\n\r\na'),
    "two spaces after the colon": form('Content-Disposition:  form-data; name="input"\r\n\r\na'),
    "no space before the name": form('Content-Disposition: form-data;name="input"\r\n\r\na'),
    "space before the colon": form('Content-Disposition : form-data; name="input"\r\n\r\na'),
    "transfer encoding": form(part("input", "YQ==", "Content-Transfer-Encoding: base64")),
    "length": form(part("input", "a", "Content-Length: 1")),
    "other charset": form(part("input", "a", "Content-Type: text/plain; charset=utf-7")),
    "latin-1 charset": form(part("input", "a", "Content-Type: text/plain; charset=ISO-8859-1")),
    "JSON in a field": form(part("input", '"a"', "Content-Type: application/json")),
    "nested multipart": form(part("input", "a", "Content-Type: multipart/mixed; boundary=x")),
    "nested multipart as a file": form(FILE.replace("text/plain", "multipart/mixed; boundary=x")),
    "latin-1": form(part("input", "\udce9")),
    "NUL": form(part("input", "a\x00b")),
    "byte order mark": form(part("input", "\ufeffa")),
    "name of a field and of a file": form(part("doc", "a"), FILE),
    "file without a name": form('Content-Disposition: form-data; name="doc"; filename=""\r\n\r\ncontent'),
    "long head": form(part("input", "a", "Content-Type: text/plain" + " " * 3_000)),
    "long name": form(part("n" * 257, "a")),
    "other charset by a field": form(A, part("_charset_", "utf-7")),
    "many fields": form(*(part(f"f{n}", "") for n in range(1_001))),
    "many more fields": form(*(part(f"f{n}", "") for n in range(5_000))),
    "many files": form(*(FILE.replace("doc", f"doc{n}") for n in range(3))),
}


def read_multipart(data: bytes, *, max_files: int = 2) -> object:
    parts = read_parts(data, "BOUND", max_files=max_files)
    return as_object(parts.pairs, files=parts.files)


@pytest.mark.parametrize("name", MULTIPART)
def test_a_multipart_form_is_read(name: str) -> None:
    data, expected = MULTIPART[name]
    assert read_multipart(data) == expected


@pytest.mark.parametrize("name", NOT_MULTIPART)
def test_a_multipart_form_with_two_readings_is_refused(name: str) -> None:
    with cheaper_than(0.1), pytest.raises(BadInputError) as caught:
        read_multipart(NOT_MULTIPART[name])
    assert (caught.value.problem.status, caught.value.problem.code) == (400, "bad_form")


def test_files_are_taken_only_where_the_route_says_so() -> None:
    assert read_parts(form(A, FILE), "BOUND", max_files=1).files == ("doc",)
    with pytest.raises(BadInputError, match="Files are not taken"):
        read_parts(form(A, FILE), "BOUND")


def test_fields_that_may_repeat_are_lists_also_when_there_is_one() -> None:
    assert as_object(read_pairs(b"tag=a&x=1&tag=b"), lists=["tag"]) == {"tag": ["a", "b"], "x": "1"}
    assert as_object(read_pairs(b"tag=a"), lists=["tag"]) == {"tag": ["a"]}
    assert as_object(read_pairs(b"x=1"), lists=["tag"]) == {"x": "1"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", []),
        (b"item=7", ["7"]),
        (b"item=7&other=1&other=2&flag", ["7"]),
        (b"it%65m=7", ["7"]),
        (b"item=7&item=8", ["7", "8"]),
        (b"items=7", []),
    ],
)
def test_a_parameter_is_looked_up_among_others(query: bytes, found: list[str]) -> None:
    assert look_up(read_pairs(query, names=False), "item") == found


@pytest.mark.parametrize("query", [b"item=7&Item=8", b"item=7&item[]=8", b"item[x]=8", b"ITEM=8"])
def test_a_parameter_in_two_spellings_is_refused(query: bytes) -> None:
    with pytest.raises(BadInputError, match="two spellings"):
        look_up(read_pairs(query, names=False), "item")


def test_the_largest_bodies_are_refused_or_read_fast() -> None:
    size = bounds.MAX_BODY_BYTES
    bodies = [
        b"a=" + b"%41" * (size // 3),
        b"a=" + b"%" * size,
        b"&" * size,
        b"a" * size,
        b"=" * size,
    ]
    with cheaper_than(3.0):
        for body in bodies:
            try:
                as_object(read_pairs(body))
            except BadInputError:
                continue
        for body in (
            b"--BOUND" * (size // 7),
            b"--BOUND\r\n" * (size // 9),
            b"--BOUND\r\n" + b"A: b\r\n" * (size // 6) + b"\r\n\r\n--BOUND--",
            form(part("input", "\r\n-" * (size // 3))),
            form(part("input", "--BOUN" * (size // 6))),
        ):
            try:
                read_multipart(body)
            except BadInputError:
                continue


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=40)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, TEXTS, max_size=6))
def test_what_is_written_is_read(fields: dict[str, str]) -> None:
    from urllib.parse import urlencode

    assert as_object(read_pairs(urlencode(fields).encode())) == fields
    assert read_multipart(form(*(part(name, text) for name, text in fields.items()))) == fields
