"""Who comes in: tokens, failures, proxies. Without sockets."""

from typing import Any

import pytest

from stationkeep.cluster.access import OF_DEVICES
from stationkeep.cluster.state.state import Access, Token
from stationkeep.node.http.access import (
    FAILURE_SECONDS,
    MAX_FAILURES,
    MAX_FAILURES_OF_ALL,
    MAX_SUSPECTS,
    Admission,
    Caller,
    Failures,
)
from stationkeep.node.http.problems import Problem
from stationkeep.node.http.rates import (
    BURST_SECONDS,
    MAX_RATED,
    ORDERS_A_SECOND,
    READS_A_SECOND,
    Rates,
)
from stationkeep.node.security.identity import Facts
from stationkeep.node.security.tokens import Shown, draw

NOW = 1_800_000_000
HERE = "127.0.0.1"
GOOD, ENDED, LATE = draw(), draw(), draw()


def token(shown: Shown, role: Access = Access.OPERATOR, **more: Any) -> Token:
    return Token(shown.id, "ci", role, shown.hash, 0, 0, "ann", **more)


TOKENS = {
    each.id: each
    for each in (token(GOOD), token(ENDED, revoked_at=1), token(LATE, expires_wall=NOW * 1_000))
}


class Door:
    """An admission, and its clock."""

    def __init__(self, **given: Any) -> None:
        self.now = 0.0
        self.tokens = dict(TOKENS)
        self.admission = Admission(
            lambda: self.tokens,
            **{"required": True} | given,
            wall=lambda: float(NOW),
            clock=lambda: self.now,
        )

    def ask(
        self,
        path: str = "/v1/cluster",
        peer: str = HERE,
        method: str = "GET",
        certificate: Facts | None = None,
        **headers: str,
    ) -> Caller:
        said = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
        return self.admission.admit(method, path, said, peer, certificate)

    def refused(self, **asked: Any) -> tuple[int, str | None]:
        with pytest.raises(Problem) as caught:
            self.ask(**asked)
        return caught.value.kind.status, caught.value.rule


def test_people_who_are_let_in_are_made_known_and_nobody_else() -> None:
    known: list[str] = []
    door = Door(known=known.append)
    people = (Access.VIEWER, Access.OPERATOR, Access.ADMIN)
    for number, role in enumerate(Access):
        shown = draw()
        door.tokens[shown.id] = token(shown, role, ids="*" if role in OF_DEVICES else "")
        paths = {Access.DEVICE: "/v1/devices/a/task", Access.METRICS: "/metrics"}
        method, path = "GET", paths.get(role, "/v1/cluster")
        if role is Access.ENROL:
            method, path = "POST", "/v1/devices:register"
        door.ask(path, f"10.0.0.{number}", method, authorization=bearer(shown))
    assert known == [f"10.0.0.{n}" for n, role in enumerate(Access) if role in people]
    known.clear()
    door.ask("/v1/tls/ca", "10.0.1.1")
    with pytest.raises(Problem):
        door.ask(peer="10.0.1.2", authorization=bearer(draw()))
    with pytest.raises(Problem):
        door.ask(peer="10.0.1.3", authorization=bearer(ENDED))
    assert known == []


def bearer(shown: Shown) -> str:
    return f"Bearer {shown.text}"


def test_who_proves_a_token_is_who_it_says() -> None:
    caller = Door().ask(authorization=bearer(GOOD))
    assert (caller.role, caller.name, caller.address) == (Access.OPERATOR, f"ci#{GOOD.id}", HERE)
    assert Door().ask(authorization=f"bearer  {GOOD.text} ").name == caller.name


@pytest.mark.parametrize(
    ("authorization", "rule"),
    [
        (f"Basic {GOOD.text}", "malformed"),
        (GOOD.text, "malformed"),
        (f"Bearer {GOOD.text[:-1]}", "malformed"),
        (bearer(draw()), "unknown"),
        (bearer(Shown(GOOD.id, draw().secret)), "unknown"),
        (bearer(Shown(ENDED.id, draw().secret)), "unknown"),
        (bearer(Shown(LATE.id, draw().secret)), "unknown"),
        (bearer(ENDED), "revoked"),
        (bearer(LATE), "expired"),
    ],
    ids=["another scheme", "no scheme", "cut off", "of none", "another secret",
         "another secret of a revoked one", "another secret of an expired one",
         "revoked", "expired"],
)  # fmt: skip
def test_how_a_token_ended_is_told_to_who_proves_its_secret(authorization: str, rule: str) -> None:
    assert Door().refused(authorization=authorization) == (401, rule)


def test_who_shows_nothing_is_told_that_it_is_missing() -> None:
    with pytest.raises(Problem) as caught:
        Door().ask()
    assert (caught.value.kind.status, caught.value.rule) == (401, "missing")
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer realm="stationkeep"'}


def test_a_token_that_is_shown_twice_is_none() -> None:
    twice = [(b"authorization", bearer(GOOD).encode())] * 2
    with pytest.raises(Problem, match="once"):
        Door().admission.admit("GET", "/v1/cluster", twice, HERE)


def test_who_may_not_is_told_which_role_would_do() -> None:
    with pytest.raises(Problem) as caught:
        Door().ask("/v1/config", method="PATCH", authorization=bearer(GOOD))
    assert caught.value.kind.status == 403
    assert caught.value.detail == (
        f"PATCH /v1/config is for the role admin; ci#{GOOD.id} is operator"
    )


def test_no_answer_says_what_was_shown() -> None:
    for text in (GOOD.text[:-1], draw().text, ENDED.text, LATE.text):
        with pytest.raises(Problem) as caught:
            Door().ask(authorization=f"Bearer {text}")
        assert text[13:60] not in caught.value.detail


def test_what_is_for_anybody_is_answered_whatever_is_shown() -> None:
    door = Door()
    for authorization in ("", "Bearer x", bearer(ENDED)):
        given = {"authorization": authorization} if authorization else {}
        caller = door.ask("/v1/me", **given)
        assert caller.role is None
        assert caller.because
    assert door.ask("/livez", authorization=bearer(GOOD)).role is Access.OPERATOR


def test_a_caller_is_good_until_the_token_ends() -> None:
    door = Door()
    caller = door.ask(authorization=bearer(GOOD))
    assert caller.good()
    door.tokens[GOOD.id] = token(GOOD, revoked_at=1)
    assert not caller.good()


def test_the_node_s_own_token_is_its_administrator() -> None:
    shown = draw()
    local = Token(shown.id, "local-admin", Access.ADMIN, shown.hash, 0, 0, "")
    caller = Door(local=local, node="sat-001").ask(authorization=bearer(shown))
    assert (caller.role, caller.name) == (Access.ADMIN, "local-admin@sat-001")


def test_who_fails_too_often_waits_and_nobody_else_does() -> None:
    door = Door()
    for _ in range(MAX_FAILURES):
        assert door.refused(peer="192.0.2.1", authorization=bearer(draw()))[0] == 401
    assert door.refused(peer="192.0.2.1", authorization=bearer(draw()))[0] == 429
    assert door.refused(peer="192.0.2.1", authorization="Bearer skt_x")[0] == 429
    assert door.refused(peer="192.0.2.2", authorization=bearer(draw()))[0] == 401
    assert door.ask(peer="192.0.2.1", authorization=bearer(GOOD)).role is Access.OPERATOR
    assert door.refused(peer="192.0.2.1") == (401, "missing")
    door.now += FAILURE_SECONDS
    assert door.refused(peer="192.0.2.1", authorization=bearer(draw()))[0] == 401


def test_who_is_told_to_wait_is_let_go() -> None:
    door = Door()
    said = []
    for _ in range(MAX_FAILURES + 1):
        with pytest.raises(Problem) as caught:
            door.ask(authorization=bearer(draw()))
        said.append(caught.value.headers.get("Connection"))
    assert said == [None] * MAX_FAILURES + ["close"]


OTHER = draw()
MOST_ORDERS, MOST_READS = (int(n * BURST_SECONDS) for n in (ORDERS_A_SECOND, READS_A_SECOND))


def ordered(door: Door, shown: Shown = GOOD, path: str = "/v1/resume") -> str | None:
    """The rule by which an order is refused."""
    try:
        door.ask(path, method="POST", authorization=bearer(shown))
    except Problem as problem:
        return problem.rule
    return None


def test_one_token_orders_so_often_and_holds_nobody_back() -> None:
    door = Door(rescues=("/v1/pause",))
    door.tokens[OTHER.id] = token(OTHER)
    assert {ordered(door) for _ in range(MOST_ORDERS)} == {None}
    assert [ordered(door) for _ in range(2)] == ["rate"] * 2
    with pytest.raises(Problem, match="more than 50 orders a second") as caught:
        door.ask("/v1/resume", method="POST", authorization=bearer(GOOD))
    assert (caught.value.kind.status, caught.value.headers["Retry-After"]) == (429, "1")
    assert ordered(door, OTHER) is None, "another token"
    assert ordered(door, path="/v1/snapshot") == "rate", "what it may not do is counted, too"
    assert ordered(door, path="/v1/pause") is None, "an order that ends trouble"
    assert ordered(door, path="/v1/rings/plan") is None, "a read that has a body"
    assert door.ask(authorization=bearer(GOOD)).name == f"ci#{GOOD.id}"
    assert door.admission.outcomes["limited"] == 4
    door.now += 1.0
    assert [ordered(door) for _ in range(ORDERS_A_SECOND + 1)][-2:] == [None, "rate"]
    door.now += BURST_SECONDS
    assert [ordered(door) for _ in range(MOST_ORDERS + 1)][-2:] == [None, "rate"]


def test_one_token_reads_so_often() -> None:
    door = Door()
    for _ in range(MOST_READS):
        door.ask(authorization=bearer(GOOD))
    assert door.refused(authorization=bearer(GOOD)) == (429, "rate")
    assert door.ask("/livez", authorization=bearer(GOOD)).role is Access.OPERATOR


def test_devices_and_the_node_s_own_administrator_are_not_held_back() -> None:
    local = Token(GOOD.id, "local-admin", Access.ADMIN, GOOD.hash, 0, 0, "")
    owner, device = Door(local=local), Door()
    device.tokens[OTHER.id] = token(OTHER, Access.DEVICE, ids="*")
    for _ in range(MOST_ORDERS + 1):
        assert ordered(owner) is None
        assert ordered(device, OTHER, "/v1/devices:report") is None


def test_tokens_that_ask_no_more_are_forgotten() -> None:
    rates = Rates(lambda: 0.0)
    for number in range(MAX_RATED + 5):
        assert not rates.take(str(number), order=True)
    assert len(rates._full_at) == MAX_RATED


def test_a_network_of_one_client_is_one_address() -> None:
    failures = Failures()
    answers = [failures.too_many(f"2001:db8::{n:x}", 0.0) for n in range(MAX_FAILURES + 1)]
    assert answers == [False] * MAX_FAILURES + [True]
    assert not failures.too_many("2001:db8:0:1::1", 0.0)
    assert not failures.too_many("::ffff:192.0.2.1", 0.0)


def test_failures_everywhere_are_too_many_together_and_are_forgotten() -> None:
    failures = Failures()
    for n in range(MAX_FAILURES_OF_ALL):
        assert not failures.too_many(f"10.0.0.{n}", 0.0)
    assert failures.too_many("10.0.1.1", 0.5)
    for n in range(MAX_SUSPECTS + 10):
        failures.too_many(f"10.1.{n // 250}.{n % 250}", float(n))
    assert len(failures._of) == MAX_SUSPECTS


@pytest.mark.parametrize("header", ["forwarded", "via", "x_forwarded_for", "x_forwarded_proto"])
def test_an_open_node_serves_nobody_through_a_proxy(header: str) -> None:
    door = Door(required=False, probes=("/livez",))
    with pytest.raises(Problem, match="set auth: required") as caught:
        door.ask(**{header: "203.0.113.9"})
    assert caught.value.kind.status == 403
    assert door.ask("/livez", **{header: "203.0.113.9"}).role is Access.ADMIN
    assert door.ask().role is Access.ADMIN


def test_an_open_node_believes_who_anybody_says_to_be() -> None:
    caller = Door(required=False).ask(authorization=bearer(ENDED))
    assert (caller.role, caller.name) == (Access.ADMIN, "")


def proxied(said: str, peer: str = "10.1.2.3") -> str:
    import ipaddress

    door = Door(proxies=(ipaddress.ip_network("10.0.0.0/8"),))
    return door.ask(peer=peer, authorization=bearer(GOOD), x_forwarded_for=said).address


def test_what_a_trusted_proxy_says_is_where_a_request_comes_from() -> None:
    assert proxied("203.0.113.9") == "203.0.113.9"
    assert proxied("198.51.100.1, 203.0.113.9, 10.7.7.7") == "203.0.113.9"
    assert proxied("2001:db8::7") == "2001:db8::7"


def test_nobody_else_is_believed_and_neither_is_what_is_no_address() -> None:
    assert proxied("203.0.113.9", peer="192.0.2.1") == "192.0.2.1"
    assert proxied("root@prod") == "10.1.2.3"
    assert proxied("203.0.113.9, nonsense") == "10.1.2.3"
    assert proxied("10.0.0.1, 10.0.0.2") == "10.1.2.3"


def test_uses_and_guesses_are_told_of_and_those_of_devices_are_not() -> None:
    seen: list[tuple[str, ...]] = []
    door = Door(used=lambda *use: seen.append(use), guessed=lambda address: seen.append((address,)))
    device = draw()
    door.tokens[device.id] = token(device, Access.DEVICE, ids="*")
    door.ask(peer="192.0.2.1", authorization=bearer(GOOD))
    door.ask("/v1/devices/a/task", authorization=bearer(device))
    for _ in range(MAX_FAILURES):
        door.refused(peer="192.0.2.9", authorization=bearer(draw()))
    assert seen == [(GOOD.id, "192.0.2.1")]
    door.refused(peer="192.0.2.9", authorization=bearer(draw()))
    assert seen[1:] == [("192.0.2.9",)]
    for number in range(MAX_FAILURES_OF_ALL):
        door.refused(peer=f"192.0.3.{number}", authorization=bearer(draw()))
    assert door.refused(peer="192.0.2.8", authorization=bearer(draw()))[0] == 429
    assert len(seen) == 2, "it has failed once"


def test_what_came_of_all_who_asked_is_counted() -> None:
    door = Door()
    door.ask(authorization=bearer(GOOD))
    door.refused()
    door.refused(authorization=bearer(ENDED))
    door.refused(path="/v1/snapshot", authorization=bearer(GOOD))
    found = {word: number for word, number in door.admission.outcomes.items() if number}
    assert found == {"admitted": 1, "missing": 1, "revoked": 1, "forbidden": 1}


# -- certificates of devices

TASK = "/v1/devices/phone-1/task"


def certificate(uri: str = "device/phone-1", serial: str = "ab12", issuer: str = "") -> Facts:
    uris = (f"spiffe://sk-0123456789abcdef/{uri}",)
    return Facts(uris, 0.0, 2.0**40, serial=serial, issuer=issuer)


def test_a_device_s_certificate_speaks_for_it_alone_until_it_is_revoked() -> None:
    revoked: set[str] = set()
    door = Door(revoked=lambda: revoked)
    caller = door.ask(TASK, certificate=certificate())
    assert (caller.role, caller.ids, caller.good()) == (Access.DEVICE, "phone-1", True)
    assert door.refused(certificate=certificate()) == (403, "role")
    revoked.add("ab12")
    assert not caller.good()
    assert door.refused(path=TASK, certificate=certificate()) == (401, "revoked")
    assert door.ask(TASK, certificate=certificate(serial="ab13")).good()


def test_a_device_s_certificate_ends_with_the_ca_that_issued_it() -> None:
    dropped: set[str] = set()
    door = Door(dropped=lambda: dropped)
    issuers = {pin: certificate(issuer=pin) for pin in ("sha256:1", "sha256:2", "")}
    callers = {pin: door.ask(TASK, certificate=shown) for pin, shown in issuers.items()}
    dropped.add("sha256:1")
    assert {pin: caller.good() for pin, caller in callers.items()} == {
        "sha256:1": False, "sha256:2": True, "": True,
    }  # fmt: skip
    assert door.refused(path=TASK, certificate=issuers["sha256:1"]) == (401, "revoked")


@pytest.mark.parametrize("uri", ["client/admin/ann", "node/phone-1", "", "device/"])
def test_a_certificate_of_anybody_else_says_nothing(uri: str) -> None:
    assert Door().refused(path=TASK, certificate=certificate(uri)) == (401, "missing")


def test_what_is_shown_beside_a_certificate_has_to_agree_with_it() -> None:
    door = Door()
    for ids in ("phone-*", "sensor-*"):
        shown = draw()
        door.tokens[shown.id] = token(shown, Access.DEVICE, ids=ids)
        asked: dict[str, Any] = {"certificate": certificate(), "authorization": bearer(shown)}
        if ids == "phone-*":
            assert door.ask(TASK, **asked).ids == ids
        else:
            assert door.refused(path=TASK, **asked) == (403, "ids")
    wrong = {"certificate": certificate(), "authorization": bearer(draw())}
    assert door.refused(path=TASK, **wrong) == (401, "unknown"), "one does not make good the other"
