"""A sandboxed command's way to named hosts, and to nothing else: `--net HOST`.

The sandbox keeps its empty network namespace.  A proxy outside (`proxy`) listens on a UNIX socket that is mounted into
the sandbox; a forwarder inside (`inside/`) listens on 127.0.0.1 there and passes on to the socket.  Who connects
where is decided outside, by name (`allowlist`), and the proxy resolves the name itself.

    with Proxy(Allowlist.parse(["pypi.org", "*.pythonhosted.org"]), directory) as proxy:
        workspace.run(sandbox, ["pip", "download", "six"], timeout=60, network=proxy)
"""

from tinsmith.workspace.network.allowlist import Allowlist, Target
from tinsmith.workspace.network.proxy import Proxy

__all__ = ["Allowlist", "Proxy", "Target"]
