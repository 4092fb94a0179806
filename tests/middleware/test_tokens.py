"""Contributors named by tokens: what is believed, and the many that are not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.authentication import SimpleUser

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import ANONYMOUS
from feedback_guard.errors import IdentityError, PolicyError, UsageError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.jwks import read_keys
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.sources import make_identifier
from feedback_guard.middleware.tokens import Tokens
from feedback_guard.policy.identity import IdentityPolicy, JwtPolicy
from tests.middleware.direct import Recorder, call, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, NOW_US, FakeGuard, make_policy
from tests.middleware.issuer import AUDIENCE, ISSUER, NOW, POLICY, claims, encode, make_key, published, sign

RSA = make_key("RSA", "k-rsa")
EC = make_key("EC", "k-ec")
ED = make_key("OKP", "k-ed")
SECRET = make_key("oct", "k-secret")
EVIL = make_key("RSA", "evil")
ALL = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]


class Issuer:
    """Serves a key set, counts how often it is asked, and can be broken or slow."""

    def __init__(self, *keys: Any) -> None:
        self.data = published(*(keys or (RSA, EC, ED)))
        self.loads = 0
        self.broken = False
        self.wait: Callable[[], Awaitable[Any]] | None = None

    async def load(self) -> bytes:
        self.loads += 1
        if self.wait is not None:
            await self.wait()
        if self.broken:
            raise IdentityError("the issuer is down")
        return self.data


def tokens(issuer: Issuer | None = None, clock: ManualClock | None = None, **policy: Any) -> Tokens:
    merged = POLICY | {"algorithms": ALL} | policy
    return Tokens(JwtPolicy.model_validate(merged), clock or ManualClock(NOW_US), (issuer or Issuer()).load)


def bearer(token: bytes) -> dict[str, Any]:
    return make_scope(headers=[(b"authorization", b"Bearer " + token)])


def read(token: bytes, issuer: Issuer | None = None, **policy: Any) -> Principal | None:
    return asyncio.run(tokens(issuer, **policy).find(bearer(token)))


def refusal(token: bytes, issuer: Issuer | None = None, **policy: Any) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        read(token, issuer, **policy)
    return caught.value


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")]
)
def test_a_good_token_names_the_contributor(key: Any, alg: str) -> None:
    assert read(sign(key, alg=alg)) == Principal("ada")


def test_a_shared_secret_is_believed_only_where_the_policy_says_so(tmp_path: Any) -> None:
    file = tmp_path / "secret.json"
    file.write_bytes(published(SECRET))
    issuer = Issuer(SECRET)
    shared: dict[str, Any] = {"algorithms": ["HS256"], "jwks_url": None, "jwks_file": str(file)}
    assert read(sign(SECRET, alg="HS256"), issuer, **shared) == Principal("ada")
    assert refusal(sign(SECRET, alg="HS256"), issuer).problem.status == 401
    identifier = make_identifier(IdentityPolicy.model_validate({"jwt": POLICY | shared}), ManualClock(NOW_US))
    assert asyncio.run(identifier.identify(bearer(sign(SECRET, alg="HS256")))).contributor == "ada"
    file.write_bytes(b"{}")
    with pytest.raises(PolicyError, match="jwks_file: the key set has no list"):
        make_identifier(IdentityPolicy.model_validate({"jwt": POLICY | shared}), ManualClock(NOW_US))


def test_name_and_groups_come_from_the_claims_that_the_policy_names() -> None:
    payload = claims(sub="no", user={"id": 7}, **{"https://login.example/org": "acme"}, tier=None)
    found = read(
        sign(RSA, payload),
        claim=["user", "id"],
        groups={"tenant": ["https://login.example/org"], "tier": ["tier"], "deep": ["user", "id"]},
    )
    assert found == Principal("7", {"tenant": "acme", "deep": "7"})


PUBLIC_PEM = RSA.as_pem(private=False)
PUBLIC_JWK = RSA.as_dict(private=False)


def confused(secret: bytes) -> bytes:
    """HS256 with a public key for its secret."""
    signed = encode({"alg": "HS256", "kid": RSA.kid}) + b"." + encode(claims())
    return signed + b"." + encode(hmac.new(secret, signed, hashlib.sha256).digest())


def flipped(token: bytes, at: int) -> bytes:
    return token[:at] + (b"A" if token[at : at + 1] != b"A" else b"B") + token[at + 1 :]


GOOD = sign(RSA)
FORGED: dict[str, bytes] = {
    "empty": b"a.b.",
    "not a token": b"hello",
    "two parts": GOOD.rpartition(b".")[0],
    "five parts, as encrypted": b"a.b.c.d.e",
    "no signature": GOOD.rpartition(b".")[0] + b".",
    "something follows": GOOD + b".x",
    "space": GOOD.replace(b".", b". "),
    "padding": GOOD + b"=",
    "not base64": b"!!." + GOOD.partition(b".")[2],
    "none": encode({"alg": "none", "kid": RSA.kid}) + b"." + encode(claims()) + b".AA",
    "None": encode({"alg": "None", "kid": RSA.kid}) + b"." + encode(claims()) + b".AA",
    "none without signature": encode({"alg": "none"}) + b"." + encode(claims()) + b".",
    "no algorithm": sign(RSA, header={"alg": None}),
    "list of algorithms": sign(RSA, header={"alg": ["RS256"]}),
    "algorithm that is not taken": sign(RSA, alg="RS512"),
    "confusion, PEM": confused(PUBLIC_PEM),
    "confusion, JWK": confused(json.dumps(PUBLIC_JWK).encode()),
    "confusion, modulus": confused(base64.urlsafe_b64decode(str(PUBLIC_JWK["n"]) + "==")),
    "other type of key": sign(RSA, kid=EC.kid),
    "other type of key, the other way": sign(EC, alg="ES256", kid=RSA.kid),
    "other key": sign(EVIL, kid=RSA.kid),
    "unknown key": sign(EVIL),
    "key in the header": sign(EVIL, header={"jwk": EVIL.as_dict(private=False)}),
    "address of a key in the header": sign(EVIL, header={"jku": "http://127.0.0.1:1/jwks"}),
    "certificate in the header": sign(EVIL, header={"x5c": ["AAAA"], "x5u": "http://127.0.0.1:1/"}),
    "no key named among several": sign(EVIL, kid=None),
    "key's name is a number": sign(RSA, kid=7),
    "signature of another": GOOD.rpartition(b".")[0] + b"." + sign(RSA, claims(sub="bob")).rpartition(b".")[2],
    "claims of another": b".".join([GOOD.split(b".")[0], encode(claims(sub="root")), GOOD.split(b".")[2]]),
    "one bit of the signature": flipped(GOOD, GOOD.rindex(b".") + 9),
    "signature cut off": GOOD[:-9],
    "critical header": sign(RSA, header={"crit": ["exp"], "exp": 1}),
    "unencoded payload": sign(RSA, header={"b64": False, "crit": ["b64"]}),
    "unencoded payload, not critical": sign(RSA, header={"b64": False}),
    "header twice": sign(RSA, header=b'{"alg":"RS256","alg":"RS256","kid":"k-rsa"}'),
    "header is a list": sign(RSA, header=b"[]"),
    "header is deep": sign(RSA, header=b"[" * 2_000),
    "header in another encoding": sign(RSA, header='{"alg":"RS256","kid":"k-rsa"}'.encode("utf-16")),
    "claims are a list": sign(RSA, []),
    "claims are no JSON": sign(RSA, b"sub=ada"),
    "claims are deep": sign(RSA, b"[" * 5_000),
    "claim twice": sign(RSA, b'{"sub":"ada","sub":"root"}'),
    "expired": sign(RSA, claims(exp=NOW - 30)),
    "expired long ago": sign(RSA, claims(exp=0)),
    "does not expire": sign(RSA, claims(exp=None)),
    "expiry is a text": sign(RSA, claims(exp=str(NOW + 300))),
    "expiry is a flag": sign(RSA, claims(exp=True)),
    "not yet valid": sign(RSA, claims(nbf=NOW + 31)),
    "begin is a text": sign(RSA, claims(nbf="now")),
    "no issuer": sign(RSA, claims(iss=None)),
    "other issuer": sign(RSA, claims(iss="https://evil.example/")),
    "issuer without its slash": sign(RSA, claims(iss=ISSUER.rstrip("/"))),
    "issuer in a list": sign(RSA, claims(iss=[ISSUER])),
    "no audience": sign(RSA, claims(aud=None)),
    "other audience": sign(RSA, claims(aud="billing")),
    "other audiences": sign(RSA, claims(aud=["billing", ["feedback"], 7])),
    "audience that begins so": sign(RSA, claims(aud=AUDIENCE + "-admin")),
    "no subject": sign(RSA, claims(sub=None)),
    "empty subject": sign(RSA, claims(sub="")),
    "subject is a list": sign(RSA, claims(sub=["ada"])),
    "subject is a flag": sign(RSA, claims(sub=True)),
    "subject is long": sign(RSA, claims(sub="x" * 257)),
    "subject of nobody": sign(RSA, claims(sub=ANONYMOUS)),
    "subject with NUL": sign(RSA, claims(sub="ada\x00")),
    "token is long": sign(RSA, claims(more="x" * 17_000)),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_token_that_is_not_good_is_refused(name: str) -> None:
    problem = refusal(FORGED[name]).problem
    assert problem.status == 401
    assert problem.code in {"bad_token", "bad_identity"}
    if problem.code == "bad_token":
        assert (b"www-authenticate", b'Bearer error="invalid_token"') in problem.headers


def test_times_are_compared_with_leeway() -> None:
    for payload in (claims(exp=NOW - 29), claims(nbf=NOW + 30), claims(exp=NOW + 0.5), claims(aud=["x", AUDIENCE])):
        assert read(sign(RSA, payload)) == Principal("ada")
    assert refusal(sign(RSA, claims(exp=NOW)), leeway="0s").problem.detail == "The token has expired."


def test_one_key_without_a_name_is_found_and_of_several_none() -> None:
    assert read(sign(RSA, kid=None), Issuer(RSA, EC)) == Principal("ada")
    other = make_key("RSA", "k-2")
    assert refusal(sign(RSA, kid=None), Issuer(RSA, other)).problem.status == 401


def outcome(who: Tokens, scope: dict[str, Any]) -> str | int | None:
    """The contributor, None, or the status of the refusal."""
    try:
        found = asyncio.run(who.find(scope))
    except BadInputError as error:
        return error.problem.status
    return found.contributor if found else None


def header(*values: bytes) -> dict[str, Any]:
    return make_scope(headers=[(b"authorization", value) for value in values])


@pytest.mark.parametrize("value", [b"", b"Basic YTpi", b"Digest x", b"Bearerx", GOOD])
def test_what_is_no_bearer_token_is_left_to_other_sources(value: bytes) -> None:
    assert asyncio.run(tokens().find(header(value))) is None


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_the_scheme_is_taken_in_any_case(scheme: bytes) -> None:
    assert asyncio.run(tokens().find(header(scheme + GOOD))) == Principal("ada")


@pytest.mark.parametrize("value", [b"Bearer", b"Bearer ", b"Bearer\t" + GOOD, b"Bearer " + GOOD + b" ", b"Bearer a, b"])
def test_a_bearer_that_holds_no_token_is_refused_or_left(value: bytes) -> None:
    assert outcome(tokens(), header(value)) in {None, 401}


def test_two_tokens_are_refused() -> None:
    with pytest.raises(BadInputError) as caught:
        asyncio.run(tokens().find(header(b"Bearer " + GOOD, b"Bearer " + GOOD)))
    assert (caught.value.problem.status, caught.value.problem.code) == (400, "ambiguous_identity")


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ([b"sid=" + GOOD], "ada"),
        ([b"a=b; sid=" + GOOD + b"; c=d"], "ada"),
        ([b"a=b", b"sid=" + GOOD], "ada"),
        ([b"xsid=" + GOOD], None),
        ([b"SID=" + GOOD], None),
        ([b"sid"], None),
        ([b"sid="], None),
        ([], None),
        ([b"sid=" + GOOD + b"; sid=" + GOOD], 400),
        ([b"sid=x", b"sid=" + GOOD], 400),
        ([b'sid="' + GOOD + b'"'], 401),
    ],
)
def test_a_token_in_a_cookie(cookies: list[bytes], found: str | int | None) -> None:
    scope = make_scope(headers=[(b"cookie", value) for value in cookies] + [(b"authorization", b"Bearer x")])
    assert outcome(tokens(cookie="sid"), scope) == found


def test_a_token_in_a_header_of_its_own() -> None:
    who = tokens(header="X-Auth-Request-Token")
    scope = make_scope(headers=[(b"x-auth-request-token", GOOD)])
    assert asyncio.run(who.find(scope)) == Principal("ada")
    assert asyncio.run(who.find(bearer(GOOD))) is None


KEYS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"<html>",
    "no keys": b"{}",
    "empty list": b'{"keys": []}',
    "keys is an object": b'{"keys": {}}',
    "keys twice": b'{"keys": [], "keys": []}',
    "for encryption": published(RSA, use="enc"),
    "for something else": published(RSA, key_ops=["encrypt"]),
    "operations are a text": published(RSA, key_ops="verify"),
    "unknown type": published(RSA, kty="XYZ"),
    "type is a list": published(RSA, kty=["RSA"]),
    "name is a number": published(RSA, kid=7),
    "weak": published(RSA, n="v" * 171),
    "short secret": published(SECRET, k="v" * 22),
    "modulus is a number": published(RSA, n=7),
    "modulus with spaces": published(RSA, n="A B"),
    "huge modulus": published(RSA, n="A" * 2_000),
    "huge exponent": published(RSA, e="AQAB" * 100),
    "point that is not on the curve": published(EC, x=EC.as_dict()["y"], y=EC.as_dict()["x"]),
    "too many": json.dumps({"keys": [RSA.as_dict(private=False)] * 101}).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_set_without_a_usable_key_is_refused(name: str) -> None:
    with pytest.raises(IdentityError):
        read_keys(KEYS[name])


def test_unusable_keys_are_left_out_and_private_parts_are_not_kept() -> None:
    data = json.loads(published(RSA, private=True))
    data["keys"] += [{"kty": "oct"}, {"kty": "RSA"}, "x", 7, None]
    (key,) = read_keys(json.dumps(data).encode())
    assert key.ident == RSA.kid
    assert "d" not in key.key.as_dict()


def test_a_key_that_is_for_one_algorithm_verifies_no_other() -> None:
    issuer = Issuer()
    issuer.data = published(RSA, alg="PS256")
    assert read(sign(RSA, alg="PS256"), issuer) == Principal("ada")
    assert refusal(sign(RSA, alg="RS256"), issuer).problem.status == 401


class Case:
    """Tokens of one issuer at one clock, in one event loop."""

    def __init__(self, **policy: Any) -> None:
        self.issuer = Issuer(RSA)
        self.clock = ManualClock(NOW_US)
        self.tokens = tokens(self.issuer, self.clock, **policy)

    async def ask(self, key: Any = RSA, **options: Any) -> str | int:
        """The contributor, 401, or 503."""
        lasting = claims(exp=NOW + 100_000_000)
        try:
            found = await self.tokens.find(bearer(sign(key, lasting, **options)))
        except BadInputError as error:
            return error.problem.status
        except IdentityError:
            return 503
        return found.contributor if found else "nobody"


def test_keys_are_fetched_once_however_many_ask() -> None:
    case = Case()

    async def run() -> None:
        gate = asyncio.Event()
        case.issuer.wait = gate.wait
        asking = [asyncio.create_task(case.ask()) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking[0].cancel()
        gate.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == ["ada"] * 49, "a client that leaves takes nothing from the others"
        case.clock.advance(100)
        assert await case.ask() == "ada"

    asyncio.run(run())
    assert case.issuer.loads == 1


def test_unknown_keys_fetch_once_in_a_while_and_are_refused_between() -> None:
    case = Case(cooldown="30s")

    async def run() -> None:
        assert await case.ask() == "ada"
        for number in range(500):
            assert await case.ask(EVIL, kid=f"made-up-{number}") == 401
        assert case.issuer.loads == 2
        case.clock.advance(31)
        assert await case.ask(EVIL) == 401
        assert await case.ask(EVIL) == 401
        assert case.issuer.loads == 3
        assert await case.ask() == "ada"

    asyncio.run(run())


def test_a_new_key_is_believed_at_once_and_an_old_one_no_longer_after_refresh() -> None:
    case = Case(refresh="10m")
    new = make_key("RSA", "k-new")

    async def run() -> None:
        assert await case.ask() == "ada"
        case.issuer.data = published(RSA, new)
        assert await case.ask(new) == "ada"
        case.issuer.data = published(new)
        assert await case.ask() == "ada", "for ten minutes nobody asks again"
        case.clock.advance(601)
        assert await case.ask() == 401
        assert await case.ask(new) == "ada"

    asyncio.run(run())


def test_keys_are_fetched_ahead_of_time_without_anybody_waiting() -> None:
    case = Case(refresh="10m")

    async def run() -> None:
        await case.ask()
        case.clock.advance(500)
        gate = asyncio.Event()
        case.issuer.wait = gate.wait
        assert await case.ask() == "ada"
        await asyncio.sleep(0)
        assert case.issuer.loads == 2
        gate.set()
        await asyncio.sleep(0)
        case.issuer.wait = None
        case.clock.advance(400)
        assert await case.ask() == "ada"
        assert case.issuer.loads == 2

    asyncio.run(run())


def test_an_issuer_that_is_down_makes_nobody_anonymous() -> None:
    case = Case(refresh="10m", max_stale="1h", cooldown="30s")

    async def run() -> None:
        case.issuer.broken = True
        for _ in range(100):
            assert await case.ask() == 503
        assert case.issuer.loads == 1, "it is not asked by every request"
        case.clock.advance(31)
        case.issuer.broken = False
        assert await case.ask() == "ada"
        case.issuer.broken = True
        case.clock.advance(700)
        assert await case.ask() == "ada", "old keys serve for a while"
        assert await case.ask(EVIL) == 503, "it may be a new key"
        for _ in range(100):
            assert await case.ask() == "ada"
        assert case.issuer.loads <= 4
        case.clock.advance(3_600)
        assert await case.ask() == 503, "but not for ever"
        case.issuer.data = b"<html>maintenance</html>"
        case.issuer.broken = False
        case.clock.advance(31)
        assert await case.ask() == 503
        case.issuer.data = published(RSA)
        case.clock.advance(31)
        assert await case.ask() == "ada"

    asyncio.run(run())


def test_keys_may_be_asked_for_in_several_event_loops() -> None:
    case = Case(refresh="10m")
    for _ in range(3):
        assert asyncio.run(case.ask()) == "ada"
        case.clock.advance(601)
    assert case.issuer.loads == 3


@pytest.mark.parametrize("enforcing", [True, False])
def test_without_keys_the_guard_answers_503_and_the_application_is_not_called(enforcing: bool, tmp_path: Any) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(published(RSA))
    identity = {"missing": "anonymous", "jwt": POLICY | {"jwks_url": None, "jwks_file": str(file)}}
    guard = FakeGuard(
        make_policy([{"name": "f", "path": "/feedback", "extract": EXTRACT}], identity=identity), enforcing=enforcing
    )
    app = Recorder()
    wrapped = FeedbackGuardMiddleware(app, guard=guard)
    file.unlink()
    scope = make_scope(headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer " + GOOD)])
    answer = asyncio.run(call(wrapped, scope, FEEDBACK))
    assert not guard.kept
    assert guard.metrics.failures == ["identity"]
    if enforcing:
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
        assert not app.bodies
    else:
        assert answer.status == 200
        assert guard.metrics.opened == ["identity"]


def policy_with(*, user: bool = True, **jwt: Any) -> IdentityPolicy:
    return IdentityPolicy.model_validate({"jwt": POLICY | jwt, "user": user})


def test_a_bad_token_is_refused_whatever_else_names_a_user(tmp_path: Any) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(published(RSA))
    who = make_identifier(policy_with(jwks_url=None, jwks_file=str(file)), ManualClock(NOW_US))

    def ask(token: bytes | None) -> Principal:
        scope = bearer(token) if token else make_scope()
        return asyncio.run(who.identify({**scope, "user": SimpleUser("bob")}))

    assert ask(GOOD).contributor == "ada"
    assert ask(None).contributor == "bob"
    with pytest.raises(BadInputError):
        ask(sign(EVIL, kid=RSA.kid))
    unnamed = make_identifier(policy_with(jwks_url=None, jwks_file=str(file), user=False), ManualClock(NOW_US))
    with pytest.raises(BadInputError) as caught:
        asyncio.run(unnamed.identify(make_scope()))
    assert (b"www-authenticate", b"Bearer") in caught.value.problem.headers


def test_nothing_of_a_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(0):
        for token in (GOOD, *FORGED.values()):
            outcome(tokens(Issuer(RSA)), bearer(token))
    for part in (b"ada", *GOOD.split(b".")):
        assert part.decode() not in caplog.text


@pytest.mark.parametrize(
    ("jwt", "sentence"),
    [
        ({"jwks_url": None}, "either `jwks_url` or `jwks_file`"),
        ({"jwks_file": "x"}, "either `jwks_url` or `jwks_file`"),
        ({"jwks_url": "http://login.example/jwks"}, "fetched by https"),
        ({"jwks_url": "file:///etc/passwd"}, "names no host"),
        ({"jwks_url": "ftp://login.example/"}, "fetched by https"),
        ({"jwks_url": "https://a:b@login.example/"}, "has a user"),
        ({"jwks_url": "https://login.example/#x"}, "a fragment"),
        ({"jwks_url": "https://login.example:99999/"}, "not a URL"),
        ({"jwks_url": "https://login.example/a b"}, "without spaces"),
        ({"jwks_url": "https://login.example/a\r\nX: y"}, "printable"),
        ({"algorithms": ["none"]}, "Input should be"),
        ({"algorithms": []}, "at least 1"),
        ({"algorithms": ["HS256"]}, "needs its secret in `jwks_file`"),
        ({"algorithms": ["RS256", "HS256"]}, "a public key is no secret"),
        ({"header": "X-A", "cookie": "b"}, "either `header` or `cookie`"),
        ({"refresh": "2h"}, "shorter than `refresh`"),
        ({"leeway": "1h"}, "less than or equal"),
        ({"timeout": "0s"}, "greater than or equal"),
    ],
)
def test_a_policy_that_is_unsafe_or_cannot_work_is_refused(jwt: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        JwtPolicy.model_validate(POLICY | jwt)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "joserfc.jws")
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(UsageError, match=r"pip install feedback-guard\[jwt\]"):
        make_identifier(policy_with(), ManualClock(NOW_US))
