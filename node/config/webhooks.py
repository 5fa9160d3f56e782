"""`webhooks:` in a node's file: where messages are sent, which ones, and the secret signing them.

Every node that may lead the cluster needs the same section. It is in the file and not in the
replicated settings because of the secrets: what is in the log is in every snapshot and backup.
"""

import base64
import binascii
import hashlib
import hmac
import re

import msgspec

from stationkeep.cluster.state.state import MAX_WEBHOOKS
from stationkeep.node.config.yaml_document import Value
from stationkeep.node.system.addresses import crosses_in_clear, split_url
from stationkeep.node.system.confidential import HIDDEN
from stationkeep.node.system.operator_files import regular
from stationkeep.node.version import VERSION

TOPICS = ("roles", "alarms", "rollouts")
USUAL = ("roles", "alarms")
"""Of a webhook that names none."""
PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret (standardwebhooks.com)."""
_VISIBLE = re.compile(r"[!-~]+")
"""The characters of a URL; anything beyond ASCII must be escaped."""
_SECRET_RULE = f"{PREFIX} and {SHORTEST} to {LONGEST} bytes in base64"


class Secret:
    """A signing key that is never printed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, content: bytes) -> str:
        """HMAC-SHA256 of `content`, in base64."""
        return base64.b64encode(hmac.new(self._key, content, hashlib.sha256).digest()).decode()

    def __repr__(self) -> str:
        return f"Secret{HIDDEN}"


class WebhookConfig(msgspec.Struct, frozen=True):
    """One webhook."""

    name: str
    """Its name in logs and metrics, and of its cursor in the replicated state."""
    url: str
    """Where messages are sent."""
    secret: Secret
    """The secret that signs every message, given here or in a file named by `secret_file`."""
    topics: tuple[str, ...] = USUAL
    """Which decisions it receives."""


def headers_of(id_: str, seconds: int, body: bytes, secret: Secret | None) -> dict[str, str]:
    """Those of a message as standardwebhooks.com has them; without a secret it is not signed."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"stationkeep/{VERSION}",
        "webhook-id": id_,
        "webhook-timestamp": str(seconds),
    }
    if secret is not None:
        signature = secret.sign(f"{id_}.{seconds}.".encode() + body)
        headers["webhook-signature"] = f"v1,{signature}"
    return headers


def read_webhooks(value: Value | None) -> tuple[WebhookConfig, ...]:
    """The webhooks that a file configures; errors go into its document."""
    if value is None:
        return ()
    items = value.items(MAX_WEBHOOKS, "webhooks")
    webhooks = [_read(item) for item in items]
    names = [webhook.name for webhook in webhooks]
    for position, (item, name) in enumerate(zip(items, names, strict=True)):
        if name and name in names[:position]:
            item.refuse("every webhook has its own name", name)
    return tuple(webhooks)


def _read(value: Value) -> WebhookConfig:
    value.known(("name", "url", "secret", "secret_file", "topics"))
    name = value.required("name", "what logs, metrics and the cursor call it")
    url = value.required("url", "where it is sent to")
    topics = value.child("topics")
    return WebhookConfig(
        name=name.name() if name else "",
        url=_url(url) if url else "",
        secret=_secret(value),
        topics=_topics(topics) if topics else USUAL,
    )


def _topics(value: Value) -> tuple[str, ...]:
    topics = tuple(topic.choice(TOPICS) for topic in value.items())
    if isinstance(value.raw, list) and not topics:
        value.refuse(f"at least one of {', '.join(TOPICS)}")
    return topics


def _url(value: Value) -> str:
    """Unencrypted to loopback only: a signature does not encrypt. An error shows only scheme and
    host: with many services, whoever knows the path may post."""
    url = value.text("an address https://…", 2_048)
    parts = split_url(url)
    if parts is None or not _VISIBLE.fullmatch(url):
        value.refuse("an address https://HOST/…, or http:// to loopback", HIDDEN)
    elif crosses_in_clear(parts):
        value.refuse("https; in clear text to loopback only", f"http://{parts.hostname}/…")
    return url


def _secret(value: Value) -> Secret:
    given, file = value.child("secret"), value.child("secret_file")
    if (given is None) == (file is None):
        value.refuse("a webhook has either secret or secret_file")
        return Secret(b"")
    place = given or file
    assert place is not None
    text = given.raw if given is not None else _read_file(place)
    key = _key(text)
    if text is not None and key is None:
        place.refuse(_SECRET_RULE, HIDDEN)
    return Secret(key or b"")


def _read_file(value: Value) -> str | None:
    path = value.text("a path", 4_096)
    try:
        with open(path, encoding="utf-8", opener=regular) as file:
            return file.read(1_024).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "UTF-8"
        value.refuse(f"a file that can be read: {why}")
        return None


def _key(text: object) -> bytes | None:
    if not isinstance(text, str) or not text.startswith(PREFIX):
        return None
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if SHORTEST <= len(key) <= LONGEST else None
