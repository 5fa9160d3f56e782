"""TLS whose handshake ends with our own verdict, and the word for each way in which one fails.

OpenSSL checks what it is good at: signatures, the chain, purposes. Dates it does not check
(`NO_CHECK_TIME`), and names it would check are addresses; both are for `identity.verdict`, which is
asked as the last step of the handshake. So a peer that is refused is refused before any protocol
sees it, by every user of a context: asyncio, uvloop, httpx.

No tickets are issued: a session that is resumed by one shows no certificate.
"""

import ssl
import time
from asyncio import BaseTransport
from collections.abc import Callable, Container, Mapping
from typing import Any

from stationkeep.node.security.identity import Door, Facts, Word, sentence, verdict

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name."""
ALPN = "stationkeep"
"""Of links between members (RFC 7301)."""
SECONDS = 3.0
"""For a handshake, from the first byte to the verdict."""
SHUTDOWN_SECONDS = 1.0
"""For a peer to agree that a connection ends."""

ACCEPTED = "accepted"
BROKEN_OFF = "broken_off"
REFUSED_BY_PEER = "refused_by_peer"
TIMEOUT = "handshake_timeout"
OTHER = "handshake_failed"
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Word.NO_CERTIFICATE.value,
    "HTTP_REQUEST": "plain_text",
    "HTTPS_PROXY_REQUEST": "plain_text",
    "WRONG_VERSION_NUMBER": "plain_text",
    "PACKET_LENGTH_TOO_LONG": "plain_text",
    "RECORD_LAYER_FAILURE": "plain_text",
    "UNSUPPORTED_PROTOCOL": "old_tls",
    "TLSV1_ALERT_PROTOCOL_VERSION": "old_tls",
    "VERSION_TOO_LOW": "old_tls",
}
"""By OpenSSL's reason."""
_WRONG_PURPOSE = 26
"""X509_V_ERR_INVALID_PURPOSE."""
OUTCOMES = (
    ACCEPTED, *(word.value for word in Word), "plain_text", "old_tls", "other_protocol",
    REFUSED_BY_PEER, BROKEN_OFF, TIMEOUT, "too_many", OTHER,
)  # fmt: skip
"""How a handshake can end: a closed set, for metrics."""

Judge = Callable[[Facts | None], None]
"""Raises `Refused` for who will not do."""


class Refused(ssl.SSLError):
    """The peer's certificate will not do. `word`: one of `OUTCOMES`; `str()` is a sentence."""

    def __init__(self, word: str, why: str) -> None:
        super().__init__(1, why)
        self.word = word


def judge(
    uid: str | None,
    door: Door,
    expected: Callable[[], Container[str]] | None,
    revoked: Callable[[], Container[str]] = tuple,
) -> Judge:
    """Asks `identity.verdict`, by this machine's clock. `expected`: the names that will do;
    `revoked`: the serial numbers that will not."""

    def judged(facts: Facts | None) -> None:
        now = time.time()
        names = None if expected is None else expected()
        word = verdict(facts, now, uid, door, names, revoked=revoked())
        if word is not None:
            raise Refused(word, sentence(word, facts, now, uid))

    return judged


def context(
    server: bool,
    trusted: str,
    judged: Judge | None,
    protocol: str | None,
    *,
    optional: bool = False,
    read: Callable[[bytes, Facts], Facts] | None = None,
) -> ssl.SSLContext:
    """A context for TLS 1.3. `trusted`: the CA's certificates in PEM. `judged`: None asks the peer
    for no certificate; with `optional` it may show none. `protocol`: what both must speak, by ALPN.
    `read`: what the facts are of a certificate in DER that says these. Raises `ssl.SSLError`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    demanded = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    made.verify_mode = ssl.CERT_NONE if judged is None else demanded
    made.verify_flags |= NO_CHECK_TIME
    if server:
        made.num_tickets = 0
    if protocol is not None:
        made.set_alpn_protocols([protocol])
    if judged is not None:
        made.load_verify_locations(cadata=trusted)
        _judge_by(made, judged, protocol, optional, read)
    return made


def client_options(made: ssl.SSLContext) -> dict[str, Any]:
    """Arguments of `create_connection` for TLS with this context. No name is sent: who is expected
    is nobody else's business."""
    return {
        "ssl": made,
        "server_hostname": "",
        "ssl_handshake_timeout": SECONDS,
        "ssl_shutdown_timeout": SHUTDOWN_SECONDS,
    }


def _judge_by(
    made: ssl.SSLContext,
    judged: Judge,
    protocol: str | None,
    optional: bool,
    read: Callable[[bytes, Facts], Facts] | None,
) -> None:
    """Has everything that the context makes end its handshake with the verdict."""

    def ended(peer: ssl.SSLObject | ssl.SSLSocket) -> Facts | None:
        if protocol == ALPN and peer.selected_alpn_protocol() != protocol:
            raise Refused("other_protocol", f"it does not speak {protocol}")
        facts = facts_shown(peer)
        if facts is not None and read is not None:
            facts = read(peer.getpeercert(binary_form=True) or b"", facts)
        if facts is not None or not optional:
            judged(facts)
        return facts

    class Judged(ssl.SSLObject):
        shown: Facts | None = None

        def do_handshake(self) -> None:
            super().do_handshake()
            self.shown = ended(self)

    class JudgedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            ended(self)

    made.sslobject_class, made.sslsocket_class = Judged, JudgedSocket


def facts_of(transport: BaseTransport) -> Facts | None:
    """Of the certificate that the peer of a connection has shown, if it has."""
    peer: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return getattr(peer, "shown", None)


def facts_shown(peer: ssl.SSLObject | ssl.SSLSocket) -> Facts | None:
    """Of the certificate of a peer, which chains; None if it showed none. One that cannot be read
    says nothing: whoever issued it need not have had rules for names, or for dates."""
    try:
        certificate: Mapping[str, Any] | None = peer.getpeercert()
        if not certificate:
            return None
        began, ends = (
            float(ssl.cert_time_to_seconds(certificate[at])) for at in ("notBefore", "notAfter")
        )
        serial = f"{int(certificate['serialNumber'], 16):x}"
    except (ValueError, KeyError):  # as UnicodeDecodeError is one
        return Facts((), 0.0, 0.0)
    names = certificate.get("subjectAltName", ())
    uris = tuple(value for kind, value in names if kind == "URI")
    return Facts(uris, began, ends, serial=serial)


def word_for(error: OSError) -> str:
    """Why a handshake failed: one of `OUTCOMES`."""
    if isinstance(error, Refused):
        return error.word
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong_purpose = error.verify_code == _WRONG_PURPOSE
        return Word.NOT_A_NODE if wrong_purpose else Word.UNTRUSTED_CA
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or ""  # which asyncio's own have not
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return BROKEN_OFF
        return _REASONS.get(reason) or (REFUSED_BY_PEER if "ALERT" in reason else OTHER)
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return TIMEOUT
    return BROKEN_OFF
