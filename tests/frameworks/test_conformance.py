"""The middleware under every framework, wherever it can stand, on two servers, over real sockets.

A test's name is a check; its parameter says framework, placement and server. What does not apply is in the `exempt`
of the framework, with the reason.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from feedback_guard.store.states import Delivery
from tests.frameworks.desk import FIRST, SECOND
from tests.frameworks.interface import PREFIX
from tests.frameworks.sites import FINAL, FRAMEWORKS, PLACEMENTS, Place, Site, places
from tests.patience import PATIENCE_SECONDS
from tests.serving import Answer, Client, head

USER = [("x-user", "ada")]
SIZED, CHUNKED = "sized", "chunked"
SPEC_VERSIONS = ("2.3", "2.4")


@pytest.fixture(scope="module", params=places(), ids=str)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all checks of a place."""
    with Site(request.param, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(autouse=True)
def exempt(request: pytest.FixtureRequest) -> None:
    place: Place | None = request.node.callspec.params.get("site") if hasattr(request.node, "callspec") else None
    if place is not None:
        reason = place.exemption(request.node.originalname.removeprefix("test_"), request.node.callspec.id)
        if reason:
            pytest.skip(reason)


def send(client: Client, site: Site, path: str, body: bytes, how: str, headers: list[tuple[str, str]] = USER) -> Answer:
    if how == SIZED:
        client.request("POST", site.prefix + path, body, headers)
    else:
        cuts = [0, 1, len(body) // 2, len(body)]
        pieces = [body[start:end] for start, end in itertools.pairwise(cuts)]
        client.chunked(site.prefix + path, pieces, headers)
    return client.answer()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_every_placement_is_tried_or_exempt_with_a_reason() -> None:
    tried = {(place.framework.name, place.placement) for place in places()}
    for framework in FRAMEWORKS:
        for placement in PLACEMENTS:
            assert ((framework.name, placement) in tried) != (placement in framework.exempt)
        checks = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
        for name, reason in framework.exempt.items():
            assert name in PLACEMENTS or name.partition("[")[0] in checks
            assert reason


@pytest.mark.parametrize("how", [SIZED, CHUNKED])
def test_feedback_reaches_the_endpoint_with_its_verdict(site: Site, how: str) -> None:
    body = site.body()
    with site.serving.connect() as client:
        for _ in range(2):  # the second request shows that the connection is in order after the first
            body = site.body()
            answer = send(client, site, "/feedback", body, how)
            assert answer.status == 200, answer.body
            assert answer.json == {
                "bytes": len(body),
                "sha256": digest(body),
                "decisions": ["accept"],
                "label": "card",
            }
    (call,) = site.desk.of(body)
    assert dict(call.headers)[b"content-length"] == str(len(body)).encode()
    assert b"transfer-encoding" not in dict(call.headers)
    assert site.settled(body).delivery is Delivery.DELIVERED


@pytest.mark.parametrize("how", [SIZED, CHUNKED])
def test_two_megabytes_of_feedback(site: Site, how: str) -> None:
    body = site.body(noise="x" * 2_000_000)
    with site.serving.connect() as client:
        answer = send(client, site, "/feedback", body, how)
    assert (answer.status, answer.json["sha256"]) == (200, digest(body))


@pytest.mark.parametrize("how", [SIZED, CHUNKED])
def test_two_megabytes_that_are_none_of_the_guards_business(site: Site, how: str) -> None:
    body = site.body(noise="x" * 2_000_000)
    with site.serving.connect() as client:
        answer = send(client, site, "/upload", body, how)
    assert (answer.status, answer.json["sha256"]) == (200, digest(body))


FILE = bytes(range(256)) * 20


def test_a_form_that_is_none_of_the_guards_business(site: Site) -> None:
    answer = site.serving.post(site.prefix + "/form", *multipart(site.body()))
    assert (answer.status, answer.json) == (200, {"bytes": len(FILE), "sha256": digest(FILE), "label": "card"})


@pytest.mark.parametrize("how", [SIZED, CHUNKED])
def test_a_form_that_is_feedback(site: Site, how: str) -> None:
    """Judged by its fields, and read by the framework afterwards, file and all."""
    feedback = site.body()
    form, headers = multipart(feedback)
    with site.serving.connect() as client:
        answer = send(client, site, "/judged-form", form, how, headers)
    assert (answer.status, answer.json) == (200, {"bytes": len(FILE), "sha256": digest(FILE), "label": "card"})
    assert site.settled(feedback).delivery is Delivery.DELIVERED


def multipart(feedback: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """A form with the fields of some feedback, and a file."""
    fields = b"".join(
        b'--edge\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())
        for name, value in json.loads(feedback).items()
    )
    file = (
        b'--edge\r\ncontent-disposition: form-data; name="file"; filename="f.bin"\r\n'
        b"content-type: application/octet-stream\r\n\r\n" + FILE + b"\r\n--edge--\r\n"
    )
    return fields + file, [*USER, ("content-type", "multipart/form-data; boundary=edge")]


def test_other_requests_pass(site: Site) -> None:
    with site.serving.connect() as client:
        client.request("GET", site.prefix + "/feedback")
        assert client.answer("GET").json == {"method": "GET"}
    assert site.serving.post(site.prefix + "/nowhere", b"{}").status == 404


def test_what_cannot_be_read_never_reaches_the_application(site: Site) -> None:
    before = len(site.desk.calls)
    for body, headers, status in (
        (b"{", USER, 400),
        (b"{}", USER, 422),
        (site.body(), [], 401),
        (site.body(), [*USER, ("content-type", "text/plain")], 415),
    ):
        answer = site.serving.post(site.prefix + "/feedback", body, headers)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
    assert len(site.desk.calls) == before


@pytest.mark.parametrize("spec", SPEC_VERSIONS)
def test_an_answer_in_parts_is_not_held_back(site: Site, spec: str) -> None:
    body = site.body()
    with site.serving.connect() as client:
        client.request("POST", site.prefix + "/stream", body, [*USER, ("x-spec", spec)])
        received = b""
        while FIRST not in received:
            received += more(client)
        assert SECOND not in received
        site.desk.go_on(body).set()
        while not received.endswith(b"0\r\n\r\n"):
            received += more(client)
        assert SECOND in received
    assert site.settled(body).detail == {"status": 200}


def more(client: Client) -> bytes:
    data = client.socket.recv(4_096)
    assert data, "the connection ended"
    return data


SPELLINGS = (
    "/feedback",
    "/%66eedback",
    "/feedback/",
    "/feedback//",
    "//feedback",
    "/feedback%2F",
    "/%2Ffeedback",
    "/feedback%0A",
    "/feedback%20",
    "/feedback%00",
    "/feedback%3Fx",
    "/feedback;x",
    "/./feedback",
    "/x/../feedback",
    "/x/..%2Ffeedback",
    "/%2e%2e/feedback",
    "/Feedback",
    "/FEEDBACK/",
    "\\feedback",
    "/feedback%5C",
    "/feedback.",
    "/feedback.json",
    "/feedbac%E2%84%AA",
    "/items/7/rating",
    "/items/a%2Fb/rating",
    "/items/%2e%2e/rating",
    "/items/a%0A/rating",
    "/items/ /rating",
    "/items//rating",
    "/items/7//rating",
    "//items/7/rating/",
    "/Items/7/RATING",
    "/items/7/%72ating",
    "/items/%C3%A9%FF/rating",
)


@pytest.mark.parametrize("method", ["POST", "post"])
def test_no_spelling_goes_around_the_guard(site: Site, method: str) -> None:
    """Whatever a framework takes for the endpoint's path, the guard takes for it too."""
    unjudged: list[str] = []
    paths = [site.prefix + spelling for spelling in SPELLINGS]
    if site.prefix:
        paths += [
            f"{PREFIX.upper()}/feedback",
            f"/{PREFIX}/feedback",
            f"{PREFIX}{PREFIX}/feedback",
            PREFIX + "//feedback/",
        ]
    for path in paths:
        body = site.body()
        try:
            site.serving.post(path, body, USER, method=method)
        except (OSError, http.client.HTTPException):
            continue  # refused by the server itself
        unjudged += [path for call in site.desk.of(body) if call.decisions != ("accept",)]
    assert unjudged == []


def test_websocket(site: Site) -> None:
    url = f"ws://127.0.0.1:{site.serving.port}{site.prefix}/echo"
    with connect(url, open_timeout=PATIENCE_SECONDS, close_timeout=PATIENCE_SECONDS, proxy=None) as socket:
        socket.send("hello")
        assert socket.recv(timeout=PATIENCE_SECONDS) == "echo: hello"


@pytest.mark.parametrize("path", ["/feedback", "/%66eedback"], ids=["plain", "escaped"])
def test_held_approved_and_replayed(site: Site, path: str) -> None:
    """What comes after the approval differs from what would have come at once in nothing that the application sees."""
    headers = [*USER, ("x-a", "1"), ("X-A", "2"), ("x-latin", "\xe9\xff"), ("content-type", "application/json")]
    path = f"{site.prefix}{path}?q=%20&q='"
    live_body, body = site.body(), site.body(hold=True)
    assert site.serving.post(path, live_body, headers).status == 200
    answer = site.serving.post(path, body, headers)
    assert (answer.status, site.desk.of(body)) == (202, [])
    site.decide(answer.json["id"], approve=True)
    site.desk.until(lambda calls: any(call.body == body for call in calls))
    stored = site.settled(body)
    assert (stored.delivery, stored.detail) == (Delivery.DELIVERED, {"status": 200})
    (live,), (replayed,) = site.desk.of(live_body), site.desk.of(body)
    assert replayed.decisions == ("accept",)
    assert (replayed.raw_path, replayed.query, replayed.state) == (live.raw_path, live.query, live.state)
    assert without_length(replayed.headers) == without_length(live.headers)


def without_length(headers: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    return [field for field in headers if field[0] != b"content-length"]


def test_a_denied_request_never_comes(site: Site) -> None:
    body, other = site.body(hold=True), site.body(hold=True)
    denied, approved = (site.serving.post(site.prefix + "/feedback", item, USER).json["id"] for item in (body, other))
    site.decide(denied, approve=False)
    site.decide(approved, approve=True)
    site.settled(other)
    assert (len(site.desk.of(body)), len(site.desk.of(other))) == (0, 1)


@pytest.mark.parametrize("cut", ["before_the_body", "in_mid_body", "in_mid_chunk"])
def test_a_client_that_leaves(site: Site, cut: str) -> None:
    """Before its body is complete: nothing is recorded, and the application hears nothing of it."""
    body, before = site.body(), site.counted("aborted")
    json_type = ("content-type", "application/json")
    if cut == "in_mid_chunk":
        fields = [*USER, json_type, ("transfer-encoding", "chunked")]
        rest = b"%x\r\n" % len(body) + body[:20]
    else:
        fields = [*USER, json_type, ("content-length", str(len(body)))]
        rest = body[:20] if cut == "in_mid_body" else b""
    with site.serving.connect() as client:
        client.send(head("POST", site.prefix + "/feedback", fields) + rest)
    site.poll(lambda: site.counted("aborted") == before + 1, "one more aborted request")
    assert site.submissions(body) == []
    assert site.desk.of(body) == []


def test_a_client_that_leaves_after_its_body(site: Site) -> None:
    body = site.body()
    with site.serving.connect() as client:
        client.request("POST", site.prefix + "/wait", body, USER)
        site.desk.until(lambda calls: any(call.body == body for call in calls))
    site.desk.go_on(body).set()
    stored = site.settled(body)
    assert stored.delivery in FINAL
    assert len(site.desk.of(body)) == 1
    assert_well(site)


@pytest.mark.parametrize("spec", SPEC_VERSIONS)
def test_a_client_that_leaves_during_the_answer(site: Site, spec: str) -> None:
    body = site.body()
    with site.serving.connect() as client:
        client.request("POST", site.prefix + "/stream", body, [*USER, ("x-spec", spec)])
        received = b""
        while FIRST not in received:
            received += more(client)
    site.desk.go_on(body).set()
    stored = site.settled(body)
    assert stored.detail["status"] == 200
    assert stored.delivery in {Delivery.DELIVERED, Delivery.UNKNOWN}
    assert_well(site)


def assert_well(site: Site) -> None:
    """The server still serves, and the guard still guards."""
    body = site.body()
    assert site.serving.post(site.prefix + "/feedback", body, USER).json["decisions"] == ["accept"]


@pytest.mark.parametrize("place", [place for place in places() if place.lifespan], ids=str)
def test_lifespan(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The application is told once of start and end, and the guard runs in between."""
    reason = place.exemption("lifespan")
    site = Site(place, tmp_path_factory.mktemp("site"))
    with site:
        started = site.desk.started
        answer: dict[str, Any] = json.loads(site.serving.post(site.prefix + "/feedback", site.body(), USER).body)
        assert answer["decisions"] == ["accept"]
    if reason:
        assert started == site.desk.stopped == (1 if "lifespan" not in place.framework.exempt else 0)
    else:
        assert started == site.desk.stopped == (1 if place.lifespan_arrives else 0)
