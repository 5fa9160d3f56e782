"""What is shown to whom, and whom one trusts: addresses that were said, the CA, a file."""

import os
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from stationkeep.node.security import certificates as made
from stationkeep.node.security import credentials, trust
from stationkeep.node.security.credentials import VARIABLE, Credentials
from stationkeep.node.security.tokens import draw
from tests.node.security.issuing import at, authority, files

SAID = "https://sat-001.example.net:8701"
TOLD = "https://sat-002.example.net:8701"
TOKEN = draw().text


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, trust.VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return files(tmp_path / "tls", "sat-001").ca


@pytest.mark.parametrize("url", [SAID, SAID + "/", "https://SAT-001.example.net:8701/v1/nodes?x=1"])
def test_a_token_goes_to_an_address_that_somebody_has_said(url: str) -> None:
    assert Credentials([SAID], token=TOKEN).token_for(url) == TOKEN


@pytest.mark.parametrize(
    "url",
    [TOLD, "https://sat-001.example.net", "https://sat-001.example.net:8702", "nonsense", "",
     "https://sat-001.example.net:8701@evil.example", "https://evil.example/?sat-001.example.net:8701"],
)  # fmt: skip
def test_and_to_no_other(url: str) -> None:
    found = Credentials([SAID], token=TOKEN)
    assert (found.token_for(url), found.may_go(url)) == ("", False)


def test_by_the_cluster_s_ca_it_goes_to_all_nodes_but_never_in_plain_text(
    ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Credentials([SAID], token=TOKEN, ca=ca)
    assert found.token_for(TOLD) == TOKEN
    assert found.token_for(TOLD.replace("https", "http")) == ""
    monkeypatch.setenv(trust.VARIABLE, str(ca))
    assert Credentials([SAID], token=TOKEN).token_for(TOLD) == TOKEN


def test_in_plain_text_it_stays_on_this_machine() -> None:
    with pytest.raises(ValueError, match="over https, or over http to this machine alone"):
        Credentials(["http://10.0.0.1:8701"], token=TOKEN)
    assert Credentials(["http://127.0.0.1:8701"], token=TOKEN).token
    assert Credentials(["http://10.0.0.1:8701"], token="").may_go("http://10.0.0.2:8701")


def test_requests_of_httpx_have_it_where_it_may_go() -> None:
    found = Credentials([SAID], token=TOKEN)
    assert found.show(httpx.Request("GET", SAID)).headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in found.show(httpx.Request("GET", TOLD)).headers


def test_the_environment_has_one_for_who_names_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)
    other = draw().text
    file = tmp_path / "token"
    file.write_text(other)
    assert Credentials([SAID]).token == TOKEN
    assert Credentials([SAID], token=other).token == other
    assert Credentials([SAID], token="").token == ""
    assert Credentials([SAID], token_file=file).token == other


def test_a_file_is_read_anew_only_for_the_token_that_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    found = Credentials([SAID], token_file=file)
    assert not found.renewed(TOKEN)
    new = draw().text
    file.write_text(new)
    assert found.renewed(TOKEN)
    assert found.token == new
    file.write_text(draw().text)
    assert not found.renewed(""), "who is not shown it is not shown another"
    assert found.renewed(TOKEN), "another device was refused the same one, a moment later"
    assert found.token == new


@pytest.mark.parametrize(
    "content",
    ["", "nonsense", TOKEN[:-1], "x" * 100_000],
    ids=["nothing", "nonsense", "one too short", "far too long"],
)
def test_a_file_that_is_damaged_changes_nothing(content: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    found = Credentials([SAID], token_file=file)
    file.write_text(content)
    assert not found.renewed(TOKEN)
    file.unlink()
    assert not found.renewed(TOKEN)
    assert found.token == TOKEN
    with pytest.raises(ValueError, match=r"token_file: .*No such file"):
        Credentials([SAID], token_file=file)


def test_faults_name_the_argument_and_not_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1")
    file = tmp_path / "token"
    file.write_text(wrong)
    monkeypatch.setenv(VARIABLE, wrong)
    faults = {
        "token: its checksum": {"token": wrong},
        f"token_file: {file}: its checksum": {"token_file": file},
        f"{VARIABLE}: its checksum": {},
        "token_file: there is a token already": {"token": TOKEN, "token_file": file},
        "cannot be read": {"token": TOKEN, "ca": tmp_path / "none.pem"},
    }
    for said, given in faults.items():
        with pytest.raises(ValueError, match=said) as caught:
            Credentials([SAID], **given)  # type: ignore[arg-type]
        assert wrong not in str(caught.value)


def test_nothing_shows_the_token_to_who_looks_at_it() -> None:
    found = Credentials([SAID], token=TOKEN)
    assert TOKEN not in f"{found} {found!r}"


def both(ca: Path) -> str:
    """What nodes say while one CA takes the place of another."""
    second = made.new_authority("c", at(0), uid=authority().uid).certificate
    return (ca.read_bytes() + made.public_pem([second])).decode()


def trusts(found: Credentials) -> int:
    context = found.verification()
    assert isinstance(context, ssl.SSLContext)
    return len(context.get_ca_certs())


def test_whom_nodes_say_to_trust_goes_into_the_file(ca: Path) -> None:
    found, told = Credentials(ca=ca), both(ca)
    found.learn(told)
    assert (ca.read_text(), trusts(found), trusts(Credentials(ca=ca))) == (told, 2, 2)
    before = ca.stat().st_ino
    found.learn(told)
    assert ca.stat().st_ino == before


def test_where_the_file_is_not_ours_to_write_to_it_is_remembered_until_the_file_is_another(
    ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    found, told, old = Credentials(ca=ca), both(ca), ca.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(credentials.SmallFile, "save", full)
        found.learn(told)
    assert (ca.read_bytes(), trusts(found), trusts(Credentials(ca=ca))) == (old, 2, 1)
    assert len(found.connection_options(secure=True)["ssl"].get_ca_certs()) == 2
    ca.write_bytes(made.public_pem([authority("other").certificate]))
    assert trusts(found) == 1


@pytest.mark.parametrize("told", ["", "nonsense", "\0", "x" * (trust.MAX_CA + 1), "é"])
def test_what_is_no_ca_changes_nothing(ca: Path, told: str) -> None:
    found, old = Credentials(ca=ca), ca.read_bytes()
    found.learn(told)
    assert (ca.read_bytes(), trusts(found)) == (old, 1)


def test_a_cluster_speaks_for_its_own_ca_alone(ca: Path) -> None:
    """A program may be given those of two clusters: neither makes it forget the other."""
    found, told = Credentials(ca=ca), both(ca)
    other = made.public_pem([authority("other").certificate])
    ca.write_bytes(other)
    found.learn(told)
    assert ca.read_bytes() == other, "ours was taken out meanwhile"
    ca.write_bytes(other + made.public_pem([authority().certificate]))
    for _ in range(2):
        found.learn(told)
        assert (ca.read_bytes(), trusts(found)) == (told.encode() + other, 3)


def test_who_trusts_as_web_sites_are_trusted_goes_on_so(ca: Path) -> None:
    found = Credentials()
    found.learn(ca.read_text())
    assert found.verification() is True


# -- certificates of devices


def certificate(folder: Path) -> Path:
    return files(folder, "phone-7", kind="device").certificate


def test_a_certificate_is_read_anew_for_each_connection(ca: Path, tmp_path: Path) -> None:
    own = certificate(tmp_path / "phone")
    found = Credentials([SAID], token="", ca=ca, certificate=own)
    assert found.connection_options(secure=True)["ssl"] is not trust.of_file(str(ca))
    assert found.connection_options(secure=False) == {}
    own.write_text("half of it")
    with pytest.raises(trust.TrustError, match="is not a certificate and its key"):
        found.connection_options(secure=True)


def test_a_certificate_is_shown_to_nobody_whom_a_ca_does_not_prove(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^certificate: .*ca is missing"):
        Credentials([SAID], token="", certificate=certificate(tmp_path / "phone"))


def test_what_is_no_certificate_is_refused_at_once_and_nobody_is_asked(
    ca: Path, tmp_path: Path
) -> None:
    pipe, locked = tmp_path / "pipe", tmp_path / "locked.pem"
    os.mkfifo(pipe)
    locked.write_bytes(
        made.new_key().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        + certificate(tmp_path / "phone").read_bytes().partition(b"-----BEGIN CERT")[1]
    )
    for file in (pipe, locked, tmp_path / "none"):
        with pytest.raises(
            trust.TrustError, match=f"^{file} (cannot be read: |is not a certificate)"
        ):
            Credentials([SAID], token="", ca=ca, certificate=file)
