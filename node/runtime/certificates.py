"""A node's certificates as its file has them; the first is issued here, if the CA key is there."""

from stationkeep.cluster.names import address_fault
from stationkeep.node.config.node_config import NodeConfig
from stationkeep.node.config.tls import TlsConfig
from stationkeep.node.runtime.server import StartError
from stationkeep.node.security.certificates import LOCAL_HOSTS
from stationkeep.node.security.contexts import Contexts, FileError
from stationkeep.node.security.renewal import Issuer, Renewal, ensure
from stationkeep.node.system.addresses import join_address, split_address

UNUSABLE_FILES = 5
"""The exit code, as of a file that no node would start with."""


def renewal_of(config: NodeConfig, tls: TlsConfig) -> Renewal:
    """Raises `StartError`: what was right when the file was read may not be any more."""
    issuer = issuer_of(config, tls)
    if issuer is not None:
        ensure(issuer)
    try:
        files = tls.files(config.data_dir)
        return Renewal(Contexts(files, config.node, id_from=tls.device_id_from), issuer)
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
    addresses = [config.raft, config.http]
    if config.own is not None:
        addresses += [config.own.raft, config.own.http]
    hosts = {split_address(address)[0] for address in addresses} | set(config.http_hosts)
    return sorted({host.lower() for host in hosts if is_of_one_machine(host)} - {*LOCAL_HOSTS})


def is_of_one_machine(host: str) -> bool:
    """Whether others can use it: 0.0.0.0 is everywhere, and fe80::1%eth0 means something here
    alone."""
    return address_fault(join_address(host, 1)) is None
