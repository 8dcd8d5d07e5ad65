"""The hosts of the built-in lab (`invoke lab.up`, four hosts on this machine), by group. The settings are in group_data/.

For servers of your own, `invoke init NAME` makes inventories/NAME/ in the same form, which git ignores here:
`pyinfra inventories/NAME/inventory.py deploy.py` deploys to them, and `INVOKE_INVENTORY=NAME invoke status` looks at them.

    address       the IP address by which the other hosts reach it
    ssh_hostname  where you reach it by SSH (default: the host's name); ssh_user, ssh_port, ssh_key, ssh_config_file,
                  ssh_known_hosts_file; left out, SSH's own configuration decides
    power_off     a command on your machine that cuts the host's power: what `invoke failover-test` does to the primary
    power_on      and the one that gives it back
"""


def _lab(name: str, address: str) -> tuple[str, dict[str, str]]:
    return name, {
        "address": address,
        "ssh_hostname": address,
        "ssh_user": "root",
        "ssh_key": ".lab/demo/id_ed25519",
        "ssh_known_hosts_file": ".lab/demo/known_hosts",
        "power_off": f"invoke lab.off {name}",
        "power_on": f"invoke lab.on {name}",
    }


postgres = [
    _lab("pg-sv01", "10.77.0.11"),
    _lab("pg-sv02", "10.77.0.12"),
    _lab("pg-sv03", "10.77.0.13"),
]
etcd = [name for name, _ in postgres]
haproxy = [_lab("pg-haproxy", "10.77.0.21")]
