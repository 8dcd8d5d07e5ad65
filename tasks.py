"""The cluster's day, in commands. `invoke --list` names them, `invoke --help NAME` explains one.

They read inventory.py and group_data/ as the deploy does; another inventory is chosen with INVOKE_INVENTORY=NAME or
`inventory: NAME` in invoke.yaml. NAME is what `invoke init NAME` has made, or a file.

Exit codes, the same for all:
    0    fine
    1    the answer is bad news: not healthy, a write lost, a goal missed; also a command line that invoke can't read
    2    refused, with the reason and what would be right; nothing was changed
    130  interrupted (Ctrl-C); what was set has been undone, but for a restore and an upgrade, which go on by the same command

Options are written out; -y for --yes, and -c for psql's --command, are the only short ones.
"""

from __future__ import annotations

from invoke.collection import Collection

from day2.commands import backups, begin, change, connect, lab, look, prove

namespace = Collection(
    *begin.COMMANDS,
    *look.COMMANDS,
    *change.COMMANDS,
    *backups.TOP,
    *prove.COMMANDS,
    *connect.COMMANDS,
)
namespace.add_collection(Collection("etcd", *change.ETCD_COMMANDS))
namespace.add_collection(Collection("host", *change.HOST_COMMANDS))
namespace.add_collection(Collection("packages", *look.PACKAGES_COMMANDS, *change.PACKAGES_COMMANDS))
namespace.add_collection(Collection("traffic", resume=change.TRAFFIC_COMMANDS[0]))
backup = Collection("backup", *backups.COMMANDS)
backup.add_task(backups.DEFAULT, default=True)
namespace.add_collection(backup)
namespace.add_collection(Collection("lab", *lab.COMMANDS))
namespace.configure({"inventory": "inventory.py"})
