"""The lab's network: one switch, and a cable from it to every host. No packet gets from it to anywhere else.

The switch is a bridge in a namespace of its own, so no firewall or forwarding of the machine touches what hosts say to
each other. One more cable goes from the machine, whose address is the subnet's first, into the switch.
"""

import ipaddress
import json
from pathlib import Path
from typing import Any

from lab.command import LabError, attempt, run
from lab.spec import LabHost, LabSpec

PREFIX = "pgq-"
BRIDGE = "bridge"
UPLINK = "uplink"
# The kernel's last choice for any address: it only counts while no lab has the subnet.
GUARD_METRIC = 4294967294

Route = dict[str, Any]


def switch(lab: str) -> str:
    """The name of the lab's switch: a namespace, and the machine's own interface into it."""
    return PREFIX + lab


def namespace(lab: str, host: str) -> str:
    """The namespace of a host."""
    return f"{PREFIX}{lab}-{host}"


def namespace_path(lab: str, host: str) -> Path:
    """Where the namespace of a host can be entered."""
    return Path("/run/netns") / namespace(lab, host)


def namespaces(lab: str | None = None) -> list[str]:
    """The namespaces of a lab, or of all labs, that exist now."""
    names = [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]
    if lab is None:
        return [name for name in names if name.startswith(PREFIX)]
    return [name for name in names if name == switch(lab) or name.startswith(switch(lab) + "-")]


def guard(spec: LabSpec) -> None:
    """Make its networks unreachable but through a lab, for good: no packet for one that is down leaves the machine."""
    for route in routes(spec):
        # What guards a part of it, for a smaller lab of the past, would keep this one from being reached.
        if _leads_nowhere(route) and route.get("metric") == GUARD_METRIC and _within(route, spec):
            run("ip", "route", "delete", "unreachable", route["dst"], "metric", str(GUARD_METRIC))
    for network in spec.networks:
        run("ip", "route", "replace", "unreachable", str(network), "metric", str(GUARD_METRIC))


def refuse_overlap(spec: LabSpec, routes: list[Route]) -> None:
    """Raise LabError if its networks are in use on this machine by anything but this lab, given the machine's routes."""
    for route in routes:
        device = route.get("dev", "several interfaces")
        if route["dst"] == "default" or _leads_nowhere(route) or device == switch(spec.name):
            continue
        taken = ipaddress.ip_network(route["dst"])
        for network in spec.networks:
            if taken.version == network.version and taken.overlaps(network):
                raise LabError(
                    f"subnet {network} overlaps {route['dst']}, which this machine has on {device}: "
                    "choose another subnet for the lab, like 10.78.0.0/24"
                )


def routes(spec: LabSpec) -> list[Route]:
    """The machine's routes of the kinds that a lab's networks are of, as `ip -json route` has them."""
    # A kernel without IPv6 is not asked about it.
    families = [f"-{network.version}" for network in spec.networks]
    listed = (run("ip", "-json", family, "route", "show", "table", "main") for family in families)
    return [route for text in listed for route in json.loads(text)]


def install_switch(spec: LabSpec) -> None:
    """Put up the switch and the machine's cable into it; what is there already stays."""
    name = switch(spec.name)
    _ensure_namespace(name)
    inside = _links(name)
    steps = [] if BRIDGE in inside else [f"link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0"]
    steps.append(f"link set {BRIDGE} addrgenmode none up")
    _batch(name, steps)
    if UPLINK not in inside:
        attempt("ip", "link", "delete", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", UPLINK, "netns", name)
    _batch(name, [f"link set {UPLINK} addrgenmode none master {BRIDGE} up"])
    run("ip", "link", "set", name, "addrgenmode", "none", "up")
    for address in spec.gateways:
        run("ip", "address", "replace", *_claimed(address), "dev", name)


def plug_in(spec: LabSpec, host: LabHost) -> None:
    """Give a host its namespace, and a cable with its addresses; what is there already stays."""
    inside, outside = namespace(spec.name, host.name), switch(spec.name)
    _ensure_namespace(inside)
    if host.name not in _links(outside):
        run("ip", "link", "add", host.name, "netns", outside, "type", "veth",
            "peer", "name", "eth0", "address", _hardware_address(host), "netns", inside)  # fmt: skip
    _batch(inside, [
        "link set lo up",
        "link set eth0 addrgenmode none up",
        *(
            f"address replace {' '.join(_claimed(f'{address}/{network.prefixlen}'))} dev eth0"
            for address, network in zip(host.addresses, spec.networks, strict=True)
        ),
    ])  # fmt: skip
    _batch(outside, [f"link set {host.name} addrgenmode none master {BRIDGE} up"])


def connect(lab: str, host: str) -> None:
    """Mend a host's cable."""
    run("ip", "-n", switch(lab), "link", "set", host, "up")


def disconnect(lab: str, host: str) -> None:
    """Cut a host's cable: both ends lose the carrier at once."""
    run("ip", "-n", switch(lab), "link", "set", host, "down")


def connected(lab: str, host: str) -> bool:
    """Whether a host has a cable that is not cut."""
    return "UP" in _links(switch(lab)).get(host, ())


def unplug(lab: str, host: str) -> None:
    """Take a host's cable and namespace away, with every socket, rule and queue its kernel had."""
    # The link first: that of a deleted namespace disappears later, and its name stays taken until then.
    attempt("ip", "-n", switch(lab), "link", "delete", host)
    attempt("ip", "netns", "delete", namespace(lab, host))


def remove_switch(lab: str) -> None:
    """Take away the machine's cable, and all namespaces of a lab. The route that guards the subnet stays."""
    attempt("ip", "link", "delete", switch(lab))
    for name in namespaces(lab):
        attempt("ip", "netns", "delete", name)


def _leads_nowhere(route: Route) -> bool:
    return bool(route.get("type", "unicast") != "unicast")


def _within(route: Route, spec: LabSpec) -> bool:
    if route["dst"] == "default":
        return False
    subnet = ipaddress.ip_network(route["dst"])
    same = [network for network in spec.networks if network.version == subnet.version]
    return any(subnet != network and subnet.subnet_of(network) for network in same)  # type: ignore[arg-type]


def _claimed(address: str) -> tuple[str, ...]:
    """An address as `ip` takes it: an IPv6 one at once, without asking first whether somebody has it."""
    return (address, "nodad") if ":" in address else (address,)


def _hardware_address(host: LabHost) -> str:
    """The same at every power-on, as of a network card; the 02 says that it is locally administered."""
    return "02:00:" + ":".join(f"{octet:02x}" for octet in ipaddress.ip_address(host.address).packed[-4:])


def _ensure_namespace(name: str) -> None:
    if attempt("ip", "-n", name, "link", "show", "dev", "lo").returncode:
        attempt("ip", "netns", "delete", name)  # a half-made one has a name and no namespace
        run("ip", "netns", "add", name)


def _links(namespace: str) -> dict[str, list[str]]:
    """The interfaces of a namespace with their flags; none if there is no such namespace."""
    listed = attempt("ip", "-n", namespace, "-json", "link", "show")
    if listed.returncode:
        return {}
    return {link["ifname"]: link["flags"] for link in json.loads(listed.stdout)}


def _batch(namespace: str, steps: list[str]) -> None:
    run("ip", "-n", namespace, "-batch", "-", stdin="\n".join(steps) + "\n")
