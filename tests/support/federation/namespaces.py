"""Machines of a made-up internet: network namespaces with a router between them and a firewall at each.

A namespace here has no name. A process of the test's holds it, and ends when its standard input closes, so that after a
test that was killed there is nothing to remove: no interface on the host, no file in /etc or /run. No address of this
network is on the host and no packet of it leaves the namespaces.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.packages import needs

CLONE_NEWNET = 0x40000000
LOST_S = 0.4
"""After this time a packet within one machine is lost."""
STRAY = "stray"
"""Marks the rule that ends a chain: what it counts had no business there."""


@dataclass(frozen=True)
class Machine:
    """A network and a mount namespace.

    Attributes:
        pid: of the process that holds it.
        address: its address towards the router.
    """

    name: str
    pid: int
    address: str

    def words(self, *command: str, folder: Path = Path("/")) -> list[str]:
        """The command line that runs ``command`` there."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--", "env", f"--chdir={folder}", *command]

    def ask(self, *command: str, text: str = "") -> str:
        """Run a command there; return its output."""
        done = subprocess.run(self.words(*command), input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stderr}"
        return done.stdout

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes within the ``with`` are the machine's."""
        with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{self.pid}/ns/net").open() as there:
            enter(there.fileno())
            try:
                yield
            finally:
                enter(own.fileno())

    def reaches(self, address: str, port: int) -> bool:
        """True if a TCP connection from here succeeds."""
        with self.inside(), socket.socket() as probe:
            probe.settimeout(LOST_S)
            return probe.connect_ex((address, port)) == 0

    def listening(self) -> set[tuple[str, int]]:
        """Address and port of every TCP and UDP socket that others could connect to, loopback's aside."""
        lines = self.ask("ss", "-H", "-l", "-t", "-u", "-n").splitlines()
        ends = [line.split()[4].rsplit(":", 1) for line in lines]
        return {(address, int(port)) for address, port in ends if not address.startswith(("127.", "[::1]"))}

    def wall(self, rules: Sequence[str]) -> None:
        """Put up a firewall: what no rule accepts is refused on the way out, dropped on the way in, and counted."""
        table = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT DROP [0:0]"]
        table += ["-A INPUT -i lo -j ACCEPT", "-A OUTPUT -o lo -j ACCEPT", *rules]
        table += [f"-A INPUT -m comment --comment {STRAY} -j DROP", f"-A OUTPUT -m comment --comment {STRAY} -j REJECT"]
        self.ask("iptables-restore", text="\n".join([*table, "COMMIT", ""]))

    def counted(self) -> dict[tuple[str, str], int]:
        """Packets that met a rule, by its chain and comment."""
        rules = re.findall(r"^\[(\d+):\d+\] -A (\S+) .*--comment (\S+) ", self.ask("iptables-save", "-c"), re.M)
        return {(chain, comment): int(number) for number, chain, comment in rules}


def needs_namespaces() -> None:
    """Skip where this machine cannot make a network of its own."""
    needs("iproute2", "iptables", "util-linux")
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"makes no network namespaces here: {tried.stderr.strip()}")


@contextmanager
def machines(
    names: Sequence[str], folder: Path, *, known: Mapping[str, str], blind: Collection[str] = ()
) -> Iterator[dict[str, Machine]]:
    """Machines that reach each other through a router, each on its own network, with no firewall yet.

    Args:
        folder: for their ``/etc/hosts`` and ``/etc/resolv.conf``.
        known: host name -> the machine that has it, for every ``/etc/hosts``. There is no other name service: a query
            for any other name goes to loopback, where nothing answers.
        blind: machines that know no host name.
    """
    addresses = {name: f"10.83.{number}.2" for number, name in enumerate(names)}
    hosts, nothing, resolver = folder / "hosts", folder / "hosts.blind", folder / "resolv.conf"
    nothing.write_text("127.0.0.1 localhost\n")
    lines = (f"{addresses[machine]} {host}\n" for host, machine in known.items())
    hosts.write_text(nothing.read_text() + "".join(lines))
    resolver.write_text("nameserver 127.0.0.1\n")
    with ExitStack() as held:
        router = Machine("router", held.enter_context(_holder(hosts, resolver)), "")
        router.ask("sh", "-ec", f"{_NO_IPV6}; ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward")
        found = {}
        for name, address in addresses.items():
            names_file = nothing if name in blind else hosts
            machine = Machine(name, held.enter_context(_holder(names_file, resolver)), address)
            _connect(machine, router)
            found[name] = machine
        yield found


_NO_IPV6 = "for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $file; done"
_HOLD = 'mount --bind "$1" /etc/hosts; mount --bind "$2" /etc/resolv.conf; echo held; exec cat'


@contextmanager
def _holder(hosts: Path, resolver: Path) -> Iterator[int]:
    """A process in new namespaces; its id."""
    with subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-ec", _HOLD, "sh", str(hosts), str(resolver)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process.pid


def _connect(machine: Machine, router: Machine) -> None:
    """A cable between the two: ``wan`` at the machine, with the router's end its gateway."""
    port = f"to{machine.pid}"
    gateway = machine.address.rsplit(".", 1)[0] + ".1"
    machine.ask("sh", "-ec", f"{_NO_IPV6}; ip link set lo up")
    router.ask("ip", "link", "add", "name", port, "type", "veth", "peer", "name", "wan", "netns", str(machine.pid))
    router.ask("sh", "-ec", f"ip addr add {gateway}/24 dev {port}; ip link set {port} up")
    script = f"ip addr add {machine.address}/24 dev wan; ip link set wan up; ip route add default via {gateway}"
    machine.ask("sh", "-ec", script)


def enter(namespace: int) -> None:
    """Enter a network namespace with the calling thread, by a descriptor of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def leave() -> None:
    """Move the calling thread into a new network namespace without a name, as ``unshare(2)`` does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
