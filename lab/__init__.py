"""Real hosts on one machine: systemd, sshd, an address, a power switch and a network cable each.

`Lab(LabSpec()).up()` starts them; `Lab.load("demo")` opens a lab that is up. Everything that goes wrong is a LabError.
"""

from lab.command import LabError
from lab.lab import HostStatus, Lab
from lab.machine import PowerCut
from lab.spec import Addresses, LabHost, LabSpec

__all__ = ["Addresses", "HostStatus", "Lab", "LabError", "LabHost", "LabSpec", "PowerCut"]
