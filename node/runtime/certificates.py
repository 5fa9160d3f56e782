"""A node's certificates as its file has them; the first is issued here, if the CA key is there."""

from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.config.tls import TlsConfig
from stationkeep.node.runtime.server import StartError
from stationkeep.node.security.certificates import LOCAL_HOSTS
from stationkeep.node.security.contexts import Contexts, FileError
from stationkeep.node.security.renewal import Issuer, Renewal, ensure
from stationkeep.node.system.addresses import split_address

UNUSABLE_FILES = 5
"""The exit code, as of a file that no node would start with."""
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - of no machine, so of no certificate


def renewal_of(config: NodeConfig, tls: TlsConfig) -> Renewal:
    """Raises `StartError`: what was right when the file was read may not be any more."""
    issuer = issuer_of(config, tls)
    if issuer is not None:
        ensure(issuer)
    try:
        return Renewal(Contexts(tls.files(config.data_dir), config.node), issuer)
    except FileError as error:
        why = "" if issuer is None or not issuer.failed else f"; {issuer.failed}"
        raise StartError(f"tls: {error}{why}", UNUSABLE_FILES) from error


def issuer_of(config: NodeConfig, tls: TlsConfig) -> Issuer | None:
    """None for a node that is given its certificates."""
    if tls.certificate is not None or not tls.ca_key.exists():
        return None
    file = tls.files(config.data_dir).certificate
    return Issuer(tls.ca, tls.ca_key, file, config.node, hosts_of(config))


def hosts_of(config: NodeConfig) -> list[str]:
    """The names and addresses under which browsers may come to this node."""
    addresses = [config.raft, config.http, *config.http_hosts]
    for member in config.members:
        if member.id == config.node:
            addresses += [member.raft, member.http]
    hosts = [split_address(a)[0] if a not in config.http_hosts else a for a in addresses]
    return sorted({host.lower() for host in hosts} - {*LOCAL_HOSTS, *ANYWHERE})
