"""What a lab does about others on the machine: networks and labs that are in its way."""

from pathlib import Path

import pytest

from lab import LabError, LabSpec, network, ownership
from lab.state import State

HERE, ELSEWHERE = Path("/here"), Path("/elsewhere")

ROUTES = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
    {"type": "unreachable", "dst": "10.77.0.0/16"},
    {"dst": "10.77.0.0/24", "dev": "pgq-demo"},
    {"dst": "10.80.0.0/16", "dev": "vpn0"},
    {"dst": "10.81.0.7", "dev": "vpn0"},
]


@pytest.mark.parametrize(
    ("lab", "subnet", "refused"),
    [
        ("demo", "10.77.0.0/24", None),
        ("dem", "10.77.0.0/24", "10.77.0.0/24, which this machine has on pgq-demo"),
        ("other", "10.77.0.0/16", "10.77.0.0/24, which this machine has on pgq-demo"),
        ("demo", "10.80.3.0/24", "10.80.0.0/16, which this machine has on vpn0"),
        ("demo", "10.81.0.0/24", "10.81.0.7, which this machine has on vpn0"),
        ("demo", "10.82.0.0/24", None),
    ],
)
def test_a_subnet_that_the_machine_uses_is_refused(lab: str, subnet: str, refused: str | None) -> None:
    spec = LabSpec(name=lab, subnet=subnet)
    if refused is None:
        network.refuse_overlap(spec, ROUTES)
    else:
        with pytest.raises(LabError, match=refused):
            network.refuse_overlap(spec, ROUTES)


MINE = State(LabSpec(), HERE, {"forky": "forky-1"})
OTHERS = State(LabSpec(), ELSEWHERE, {"forky": "forky-1"})
BESIDE = State(LabSpec(name="beside", subnet="10.77.1.0/24"), ELSEWHERE, {"forky": "forky-1"})
ASTRIDE = State(LabSpec(name="astride", subnet="10.77.0.0/16"), ELSEWHERE, {"forky": "forky-1"})


@pytest.mark.parametrize(
    ("name", "found", "in_use", "owner_there", "verdict"),
    [
        ("demo", MINE, True, True, "keep"),
        ("demo", MINE, False, True, "keep"),
        ("demo", None, True, False, "clear"),
        ("demo", None, False, False, "clear"),
        ("demo", OTHERS, True, True, None),
        ("demo", OTHERS, False, True, "clear"),
        ("demo", OTHERS, True, False, "clear"),
        ("beside", BESIDE, True, True, "keep"),
        ("beside", BESIDE, False, True, "keep"),
        ("beside", BESIDE, True, False, "clear"),
        ("beside", None, False, False, "clear"),
        ("beside", None, True, False, "keep"),
        ("astride", ASTRIDE, True, True, None),
        ("astride", ASTRIDE, False, True, "clear"),
    ],
)
def test_what_becomes_of_a_lab_that_is_there(
    name: str, found: State | None, in_use: bool, owner_there: bool, verdict: str | None
) -> None:
    if verdict:
        assert ownership.judge(name, found, LabSpec(), HERE, in_use, owner_there=owner_there) == verdict
    else:
        with pytest.raises(LabError, match=r"of /elsewhere is running.*another name and another subnet"):
            ownership.judge(name, found, LabSpec(), HERE, in_use, owner_there=owner_there)


def test_two_labs_share_no_ipv6_network() -> None:
    halves = [LabSpec(subnet=subnet, addresses="ipv6").network6 for subnet in ("10.77.1.0/25", "10.77.1.128/25", "10.78.1.0/24")]
    assert len(set(halves)) == 3


def test_a_kernel_without_ipv6_is_not_asked_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(network, "run", lambda *argv: asked.append(argv[2]) or "[]")  # type: ignore[func-returns-value]
    for spec in (LabSpec(), LabSpec(addresses="ipv6"), LabSpec(addresses="dual")):
        assert network.routes(spec) == []
    assert asked == ["-4", "-6", "-4", "-6"]


def test_a_machine_whose_ipv6_network_is_the_labs_is_refused() -> None:
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "fd0a:4d00::/32", "dev": "eth0"}, {"dst": "fe80::/64", "dev": "eth0"}]
    network.refuse_overlap(LabSpec(), routes)
    with pytest.raises(LabError, match="subnet fd0a:4d00::/64 overlaps fd0a:4d00::/32, which this machine has on eth0"):
        network.refuse_overlap(LabSpec(addresses="dual"), routes)
