"""Files of certificates as they change under a running node."""

import os
import ssl
from pathlib import Path

import pytest

from stationkeep.node.security import certificates as made
from stationkeep.node.security import contexts as module
from stationkeep.node.security.contexts import Contexts, FileError, check
from tests.node.security.issuing import at, authority, files


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    return Contexts(files(tmp_path, "a"), "a")


def test_what_has_not_changed_is_not_read_again(contexts: Contexts) -> None:
    before = contexts.current
    contexts.look()
    assert contexts.current is before
    assert contexts.reloads == {"accepted": 0, "rejected": 0}


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_node(path: Path) -> None:
    files(path.parent, "b")


def of_another_cluster(path: Path) -> None:
    ca = (path.parent / "ca.pem").read_bytes()
    files(path.parent, "a", authority("foreign"))
    (path.parent / "ca.pem").write_bytes(ca)


def a_whole_set_of_another_cluster(path: Path) -> None:
    files(path.parent, "a", authority("foreign"))


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_the_key_of_another_pair(path: Path) -> None:
    chain = made.certificates_in(path.read_bytes())
    path.write_bytes(made.private_pem(made.new_key()) + made.public_pem(chain))


def expired(path: Path) -> None:
    files(path.parent, "a", ends=-1)


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (half, "no private key|damaged"),
        (empty, "is empty"),
        (of_another_node, "is of node b, not of a"),
        (of_another_cluster, "was issued by CN=foreign CA"),
        (a_whole_set_of_another_cluster, "is of the cluster with uid"),
        (a_directory, "not a regular file"),
        (a_pipe, "not a regular file"),
        (with_the_key_of_another_pair, "does not belong to the key"),
        (expired, "expired on"),
        (gone, "No such file"),
    ],
)
def test_what_does_not_fit_is_refused_whole_and_the_old_stays(
    contexts: Contexts, tmp_path: Path, spoil, why: str
) -> None:
    before = contexts.current
    spoil(tmp_path / "node.pem")
    contexts.look()
    contexts.look()  # what was refused is said once
    assert contexts.current is before
    assert contexts.reloads == {"accepted": 0, "rejected": 1}
    with pytest.raises(FileError, match=why):
        raise FileError(Path(), str(contexts.rejected))
    if (tmp_path / "node.pem").is_dir():
        (tmp_path / "node.pem").rmdir()
    files(tmp_path, "a", ends=70)
    contexts.look()
    assert contexts.rejected is None
    assert contexts.current is not before


@pytest.mark.parametrize("short", ["descriptors for a file", "descriptors for OpenSSL", "rights"])
def test_what_was_refused_is_taken_when_the_reason_is_gone_though_no_file_has_changed(
    contexts: Contexts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    before = contexts.current
    files(tmp_path, "a", ends=70)

    def failing(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied") if short == "rights" else OSError(24, "Too many")

    with monkeypatch.context() as patch:
        if short == "descriptors for OpenSSL":
            patch.setattr(module.os, "memfd_create", failing)
        else:
            patch.setattr(made, "open", failing, raising=False)
        contexts.look()
    assert contexts.current is before
    assert contexts.reloads["rejected"] == 1
    assert str(tmp_path) in str(contexts.rejected)
    contexts.look()
    assert (contexts.rejected, contexts.reloads["accepted"]) == (None, 1)


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a secret."""
    for version, ends in (("v1", 60), ("v2", 61)):
        files(tmp_path / version, "a", ends=ends)
    link = tmp_path / "now"
    link.symlink_to("v1")
    contexts = Contexts(
        files(tmp_path / "v1", "a")._replace(
            ca=link / "ca.pem", certificate=link / "node.pem", key=link / "node.pem"
        ),
        "a",
    )
    before = contexts.current.pair.leaf
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(link)
    contexts.look()
    assert contexts.reloads["accepted"] == 1
    assert contexts.current.pair.leaf != before


def test_an_expired_certificate_is_better_than_none_at_the_start(tmp_path: Path) -> None:
    assert Contexts(files(tmp_path, "a", ends=-3), "a").current.node == "a"


def test_two_cas_are_trusted_at_once(tmp_path: Path) -> None:
    found = files(tmp_path, "a")
    other = authority("second")
    bundle = made.public_pem([other.certificate, authority().certificate])
    found.ca.write_bytes(bundle)
    contexts = Contexts(found, "a")
    assert len(contexts.current.server.get_ca_certs()) == 2
    assert contexts.current.uid == authority().uid


def test_for_http_a_pair_of_another_ca_will_do_if_it_is_one(tmp_path: Path) -> None:
    found = files(tmp_path, "a")
    public = files(tmp_path / "public", "www", authority("public")).certificate
    both = found._replace(http_certificate=public, http_key=public)
    contexts = Contexts(both, "a")
    assert contexts.current.http_pair.leaf != contexts.current.pair.leaf
    check(both, "a", own=True)
    with pytest.raises(FileError, match="does not belong to the key"):
        check(both._replace(http_key=found.key), "a", own=True)


def test_no_descriptor_is_left_behind(contexts: Contexts) -> None:
    descriptors = Path("/proc/self/fd")
    contexts.reload()
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        assert contexts.reload()
    assert len(list(descriptors.iterdir())) <= before


def test_contexts_for_dialling_are_few_however_many_peers_are_named(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 3)
    first = contexts.client("p0")
    assert contexts.client("p0") is first
    for number in range(10):
        contexts.client(f"p{number}")
        assert len(contexts.current._clients) <= 3


def test_what_openssl_alone_dislikes_is_refused_like_the_rest(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contexts.current

    def disliked(*_: object) -> None:
        raise ssl.SSLError(1, "[SSL: EE_KEY_TOO_SMALL]")

    monkeypatch.setattr(module, "load_pair", disliked)
    assert not contexts.reload()
    assert "cannot be used" in str(contexts.rejected)
    assert contexts.current is before


def test_files_of_before_a_ca_was_dropped_are_refused(tmp_path: Path) -> None:
    """As whoever looks after files may put them back."""
    second = made.new_authority("c", at(0), uid=authority().uid)
    found = files(tmp_path, "a", second)
    contexts = Contexts(found, "a")
    contexts.dropped = lambda: {made.pin(authority().certificate)}
    before = contexts.current
    files(tmp_path, "a")
    assert not contexts.reload()
    assert f"{found.ca} has a CA that was dropped" in str(contexts.rejected)
    assert contexts.current is before
    files(tmp_path, "a", second)
    assert contexts.reload()


def test_who_trusts_a_ca_that_was_dropped_can_still_be_given_other_files(tmp_path: Path) -> None:
    """Else a node whose directory somebody else writes to would be stuck."""
    contexts = Contexts(files(tmp_path, "a"), "a")
    contexts.dropped = lambda: {made.pin(authority().certificate)}
    files(tmp_path, "a", ends=70)
    assert contexts.reload()
