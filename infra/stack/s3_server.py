"""A whole OpenStack Swift with its S3 face in one process: four WSGI applications on loopback under eventlet.

    python -m infra.stack.s3_server OPTIONS.json

The options: `home` (folder of data and configuration), `port`, `access_key` (of the form account:user), `secret_key`,
`fast` (nothing is driven to the disk). Started as a process of its own and never imported: eventlet changes the
standard library. Configuration as documented at https://docs.openstack.org/swift/latest/config/.
"""

from __future__ import annotations

import array
import json
import logging
import sys
import warnings
from pathlib import Path
from time import monotonic
from typing import Any

import eventlet

_BACKENDS = ("account", "container", "object")
_DEVICE = "disk"
#: Bytes that are read, passed on, hashed and written at a time. Swift's own 64 KiB cost many turns; a slow client has a
#: minute for each, so a MiB would be too much.
_CHUNK = 256 * 1024
#: Seconds that the servers wait for each other. What is stored or deleted is answered once the bucket's list shows it:
#: Swift's own single second lets a busy machine's list be behind, and what misses it for good would wait for a daemon
#: that does not run here.
_PATIENCE = 30
_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = reelhook
swift_hash_path_prefix = reelhook
[storage-policy:0]
name = one
default = yes
"""
_BACKEND = """\
[DEFAULT]
devices = {home}/devices
mount_check = false
swift_dir = {home}
log_level = WARNING
fallocate_reserve = 0
disable_fallocate = true
[app:main]
use = egg:swift#{name}
log_requests = false
network_chunk_size = {chunk}
disk_chunk_size = {chunk}
node_timeout = {patience}
conn_timeout = {patience}
container_update_timeout = {patience}
"""
_PROXY = """\
[DEFAULT]
swift_dir = {home}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors listing_formats bulk s3api tempauth slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
client_chunk_size = {chunk}
object_chunk_size = {chunk}
account_autocreate = true
allow_account_management = true
node_timeout = {patience}
recoverable_node_timeout = {patience}
conn_timeout = {patience}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret_key} .admin
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""


def main(options: dict[str, Any]) -> None:
    """Listen, configure, serve until a signal."""
    home = Path(options["home"])
    public = eventlet.listen(("127.0.0.1", options["port"]))
    listeners = {name: eventlet.listen(("127.0.0.1", 0)) for name in _BACKENDS}
    _configure(home, options)
    _load_swift(home, fast=options["fast"])
    for name, listener in listeners.items():
        _write_ring(home, name, listener.getsockname()[1])
    for name, listener in listeners.items():
        eventlet.spawn(_serve, listener, home / f"{name}-server.conf")
    _serve(public, home / "proxy-server.conf")


def _configure(home: Path, options: dict[str, Any]) -> None:
    (home / "devices" / _DEVICE).mkdir(parents=True, exist_ok=True)
    (home / "swift.conf").write_text(_SWIFT)
    common = {"home": home, "chunk": _CHUNK, "patience": _PATIENCE}
    for name in _BACKENDS:
        (home / f"{name}-server.conf").write_text(_BACKEND.format(name=name, **common))
    account, _, user = options["access_key"].partition(":")
    proxy = home / "proxy-server.conf"
    proxy.touch(mode=0o600)
    secret = options["secret_key"]
    proxy.write_text(_PROXY.format(account=account, user=user, secret_key=secret, **common))


def _load_swift(home: Path, *, fast: bool) -> None:
    """Patch the standard library as Swift's own servers do, and point Swift to our folder instead of /etc/swift."""
    from swift.common import storage_policy, utils  # noqa: PLC0415 - after eventlet, as in Swift's own entry points
    from swift.common.utils import logs  # noqa: PLC0415

    utils.monkey_patch()
    # Without /dev/log Swift would send its log by UDP to whoever listens there.
    logs.ThreadSafeSysLogHandler = lambda **_: logging.StreamHandler(sys.stderr)
    utils.set_swift_dir(str(home))
    storage_policy.reload_storage_policies()
    utils.disable_fallocate()
    if fast:
        from swift.obj import diskfile  # noqa: PLC0415

        utils.fsync_dir = diskfile.fsync = diskfile.fsync_dir = lambda _: None
        diskfile.drop_buffer_cache = lambda *_: None  # it has the kernel write at once what may wait


def _write_ring(home: Path, name: str, port: int) -> None:
    """A ring of one device: everything is there."""
    from swift.common.ring import RingData  # noqa: PLC0415 - as above

    device = {"id": 0, "zone": 0, "region": 1, "weight": 1.0, "device": _DEVICE, "ip": "127.0.0.1", "port": port}
    RingData([array.array("H", [0, 0])], [device], 31).save(str(home / f"{name}.ring.gz"))


def _serve(listener: Any, configuration: Path) -> None:
    from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: PLC0415 - as above

    application = loadapp(str(configuration), global_conf={"log_name": configuration.stem})
    if configuration.stem == "proxy-server":
        application = _with(application, _Memory())
    warnings.filterwarnings("ignore", message="capitalize_response_headers is disabled")
    eventlet.wsgi.server(
        listener,
        application,
        log=logging.getLogger("requests"),
        log_output=False,
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,  # or metadata names come back changed
        url_length_limit=64 * 1024,
        max_size=512,
        debug=False,
    )


class _Memory:
    """What a Swift keeps in the memcached beside it: what it knows of accounts and buckets. Here it is a dictionary.

    Without one each request asks for both again, which costs more than most requests do.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, str]] = {}

    def set(self, key: str, value: Any, time: float = 0, **_: Any) -> None:
        """Keep `value` for `time` seconds, as text: who reads it may change what he reads."""
        self._kept[key] = monotonic() + time, json.dumps(value)

    def get(self, key: str, **_: Any) -> Any:
        """What was kept, until it is too old."""
        until, text = self._kept.get(key, (0.0, ""))
        return json.loads(text) if monotonic() < until else None

    def delete(self, key: str, **_: Any) -> None:
        """Forget it."""
        self._kept.pop(key, None)


def _with(application: Any, memory: _Memory) -> Any:
    def remembering(environ: dict[str, Any], start: Any) -> Any:
        environ["swift.cache"] = memory
        return application(environ, start)

    return remembering


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
