"""What the guard reads of a form, and what applications read of the same bytes, is one thing.

Forms of all kinds, good, bad and mutated, are read by the guard and by the parsers of the frameworks. Where the guard
takes one, each parser must have read the same, or have refused it. Then the same over real sockets.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.media import View, reader
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.forms import FormPolicy, Media
from feedback_guard.verdict import Decision
from tests.middleware import readers, test_forms
from tests.middleware.fakes import FakeGuard, make_policy
from tests.serving import Serving

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=BOUND"
MUTANTS = 3_000
# Parsers of other people leave files open when they refuse a form.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
FORM = FormPolicy(lists=("tag", "tags[]"), files=2)

PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"--", b"--BOUND", b"\r\n--BOUND\r\n", b"\r\n--BOUND--\r\n", b" ", b"\t"),
    *(b'"', b"'", b"\\", b'\\"', b";", b"; ", b"=", b"*=utf-8''", b"*0=", b":", b",", b"%22", b"%00", b"%", b"&", b"+"),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xed\xa0\x80", b"[", b"]", b"[]", b".", b"_"),
    *(b"name=", b'name="label"', b'filename="x"', b'filename=""', b"filename*=utf-8''x", b"form-data", b"FORM-DATA"),
    *(b"Content-Disposition: ", b"Content-Type: text/plain", b"Content-Type: text/plain; charset=utf-16\r\n"),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Length: 1",
    ),
    *(
        b"&label=evil",
        b"&l%61bel=evil",
        b";label=evil",
        b"&label[]=evil",
        b"&%6cabel=evil",
        b"label",
        b"=?utf-8?b?YQ==?=",
    ),
    b'\r\n--BOUND\r\nContent-Disposition: form-data; name="label"\r\n\r\nevil\r\n--BOUND--\r\n',
    b"_charset_=utf-16&",
]
MEDIA = [
    *([MULTIPART] * 12),
    'multipart/form-data; boundary="BOUND"',
    "multipart/form-data; charset=utf-8; boundary=BOUND",
    "Multipart/Form-Data; BOUNDARY=BOUND",
    "multipart/form-data; boundary=BOUND; boundary=BOUNDARY",
    "multipart/form-data; boundary=BOUND; charset=latin-1",
    "multipart/form-data; boundary=--BOUND",
    "multipart/form-data;boundary=BOUND ",
]


def guard_reads(media: str, body: bytes) -> View | None:
    """What the guard sees, or None if it refuses the form."""
    headers = [(b"content-type", media.encode("latin-1"))]
    try:
        return reader(headers, (Media.URLENCODED, Media.MULTIPART), FORM, b"")(body)
    except BadInputError:
        return None


def as_fields(view: View) -> readers.Fields:
    assert isinstance(view.value, dict)
    found: readers.Fields = {}
    for name, value in view.value.items():
        assert isinstance(value, str | list)
        found[name] = [value] if isinstance(value, str) else [str(item) for item in value]
    return found


def not_empty(fields: readers.Fields) -> readers.Fields:
    found = {name: [value for value in values if value] for name, values in fields.items()}
    return {name: values for name, values in found.items() if values}


def disagreement(
    media: str, body: bytes, parsers: list[Callable[[str, bytes], readers.Fields]]
) -> tuple[bool, str | None]:
    """Whether the guard takes a form, and which parser reads something else."""
    view = guard_reads(media, body)
    if view is None:
        return False, None
    ours = as_fields(view)
    for parser in parsers:
        try:
            theirs = parser(media, body)
        except Exception:  # noqa: BLE001 - a parser that refuses reads nothing else
            continue
        # Some leave out empty fields, and some take a file input that was left empty for an empty field.
        # BlackSheep finds nothing at all where the boundary stands in quotes.
        if theirs and not_empty(theirs) != not_empty(ours):
            return True, f"{parser.__name__} reads {theirs!r} where the guard reads {ours!r}: {media!r} {body!r}"
    return True, None


def mutants(bodies: list[bytes], number: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Bodies with pieces put in, taken out, doubled, moved or replaced; the number picks a media type."""
    rng = random.Random(seed)
    for turn in range(number):
        # The good ones stand first; most mutants are made of them, so that enough are still good.
        body = bytearray(rng.choice(bodies[: len(bodies) // 6] if turn % 4 else bodies))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at = rng.randrange(len(body) + 1)
            to = min(len(body), at + rng.choice((1, 1, 2, 3, 8, 30)))
            match rng.randrange(5):
                case 0:
                    body[at:at] = rng.choice(PIECES)
                case 1:
                    del body[at:to]
                case 2:
                    body[at:at] = body[at:to]
                case 3:
                    body[at:to] = rng.choice(PIECES)
                case _:
                    moved = bytes(body[at:to])
                    del body[at:to]
                    place = rng.randrange(len(body) + 1)
                    body[place:place] = moved
        yield turn, bytes(body)


LARGE = 5_000
MULTIPART_BODIES = [
    body
    for body in [*(data for data, _ in test_forms.MULTIPART.values()), *test_forms.NOT_MULTIPART.values()]
    if len(body) < LARGE
]
URLENCODED_BODIES = [
    body
    for body in [*(data for data, _ in test_forms.URLENCODED.values()), *test_forms.NOT_URLENCODED.values()]
    if len(body) < LARGE
] + [b"tag=a&tag=b&tags%5B%5D=c&input=a&label=b"]


def check_mutants(number: int, seed: int) -> dict[str, int]:
    """Compare so many mutated forms of each kind; say how many of them the guard took."""
    taken = {URLENCODED: 0, MULTIPART: 0}
    for turn, body in mutants(MULTIPART_BODIES, number, seed):
        accepted, wrong = disagreement(MEDIA[turn % len(MEDIA)], body, readers.MULTIPART)
        assert wrong is None, wrong
        taken[MULTIPART] += accepted
    for _, body in mutants(URLENCODED_BODIES, number, seed):
        accepted, wrong = disagreement(URLENCODED, body, readers.URLENCODED)
        assert wrong is None, wrong
        taken[URLENCODED] += accepted
    return taken


def test_mutated_forms_are_read_alike_or_refused() -> None:
    taken = check_mutants(MUTANTS, seed=1)
    assert min(taken.values()) > MUTANTS / 40, "the mutants no longer resemble forms"


@pytest.mark.parametrize("name", [*test_forms.MULTIPART, *test_forms.NOT_MULTIPART])
def test_the_multipart_corpus_is_read_alike_or_refused(name: str) -> None:
    known = test_forms.MULTIPART.get(name)
    body = known[0] if known is not None else test_forms.NOT_MULTIPART[name]
    accepted, wrong = disagreement(MULTIPART, body, readers.MULTIPART)
    assert wrong is None
    assert accepted is (known is not None)


@pytest.mark.parametrize("name", [*test_forms.URLENCODED, *test_forms.NOT_URLENCODED])
def test_the_urlencoded_corpus_is_read_alike_or_refused(name: str) -> None:
    known = test_forms.URLENCODED.get(name)
    body = known[0] if known is not None else test_forms.NOT_URLENCODED[name]
    accepted, wrong = disagreement(URLENCODED, body, readers.URLENCODED)
    assert wrong is None
    assert accepted is (known is not None)


RAW = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.sampled_from([b"a=b", b"&"])), max_size=12)
HEAD = b'--BOUND\r\nContent-Disposition: form-data; name="'


@settings(max_examples=400, deadline=None)
@given(RAW)
def test_made_up_forms_are_read_alike_or_refused(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert disagreement(URLENCODED, body, readers.URLENCODED)[1] is None
    for form in (body, HEAD + body, HEAD + b'a"\r\n\r\n' + body + b"\r\n--BOUND--\r\n"):
        assert disagreement(MULTIPART, form, readers.MULTIPART)[1] is None


@dataclass
class Seen:
    """A guarded application that parses the form by itself, and what either of them read."""

    guard: FakeGuard
    by_guard: list[Any] = field(default_factory=list)
    by_app: list[list[tuple[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def extract(self, body: Any, scope: Any) -> dict[str, Any]:
        self.by_guard.append(body)
        return {"kind": "label", "input": "any", "label": "any"}

    async def endpoint(self, request: Request) -> JSONResponse:
        self.bodies.append(await request.body())
        async with request.form(max_files=100) as form:
            self.by_app.append([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
        return JSONResponse({})

    def forget(self) -> None:
        self.by_guard.clear()
        self.by_app.clear()
        self.bodies.clear()


@pytest.fixture(scope="module", params=["h11", "httptools"])
def serving(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, Seen]]:
    http: Literal["h11", "httptools"] = request.param
    route = {
        "name": "f",
        "path": "/feedback",
        "accepts": ["urlencoded", "multipart"],
        "form": FORM.model_dump(),
        "max_body_bytes": 1_000_000,
    }
    seen = Seen(FakeGuard(make_policy([route])))
    app = Starlette(routes=[Route("/feedback", seen.endpoint, methods=["POST"])])
    wrapped = FeedbackGuardMiddleware(app, guard=seen.guard, extractors={"f": seen.extract}, poll_seconds=0.05)
    with Serving(wrapped, http=http) as server:
        yield server, seen


def corpus() -> Iterator[tuple[str, str, bytes]]:
    for name, (body, _) in test_forms.URLENCODED.items():
        yield name, URLENCODED, body
    for name, body in test_forms.NOT_URLENCODED.items():
        yield name, URLENCODED, body
    for name, (body, _) in test_forms.MULTIPART.items():
        yield name, MULTIPART, body
    for name, body in test_forms.NOT_MULTIPART.items():
        yield name, MULTIPART, body
    for media in MEDIA:
        yield media, media, test_forms.form(test_forms.A, test_forms.B)
    for _, body in mutants(MULTIPART_BODIES, 150, seed=2):
        yield "mutant", MULTIPART, body
    for _, body in mutants(URLENCODED_BODIES, 150, seed=3):
        yield "mutant", URLENCODED, body


def test_over_sockets_guard_and_application_read_the_same(serving: tuple[Serving, Seen]) -> None:
    server, seen = serving
    taken = refused = 0
    for number, (name, media, body) in enumerate(corpus()):
        seen.forget()
        with server.connect() as client:
            if number % 3:
                client.request("POST", "/feedback", body, {"content-type": media})
            else:
                pieces = [body[at : at + 17] for at in range(0, len(body), 17)] if len(body) < LARGE else [body]
                client.chunked("/feedback", [piece for piece in pieces if piece], {"content-type": media})
            answer = client.answer()
        if answer.status in {400, 415}:
            assert not seen.bodies, f"{name}: refused, and the application got it"
            refused += 1
            continue
        assert answer.status == 200, (name, answer.body)
        (ours,), (theirs,) = seen.by_guard, seen.by_app
        texts = [(key, text) for key, value in ours.items() for text in (value if isinstance(value, list) else [value])]
        assert sorted(texts) == sorted(theirs), name
        assert seen.bodies == [body], "to the byte"
        taken += 1
    assert taken > 40
    assert refused > 100


def test_a_held_form_comes_to_the_application_later_to_the_byte(serving: tuple[Serving, Seen]) -> None:
    server, seen = serving
    seen.forget()
    seen.guard.decide_on = lambda _: Decision.QUARANTINE
    body = test_forms.form(test_forms.A, test_forms.part("tag", "é\r\n"), test_forms.FILE)
    try:
        answer = server.post("/feedback", body, {"content-type": MULTIPART})
    finally:
        seen.guard.decide_on = lambda _: Decision.ACCEPT
    assert answer.status == 202
    assert not seen.bodies
    ident = json.loads(answer.body)["id"]
    seen.guard.approve(ident)
    seen.guard.settled(ident)
    assert seen.bodies == [body]
    assert seen.by_app == [[("input", "a"), ("tag", "é\r\n")]]
