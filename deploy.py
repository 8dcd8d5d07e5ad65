"""The deploy, phase by phase: `pyinfra inventory.py deploy.py`, the first time and every time after.

Everything that can be refused is refused in current_run(), before anything is touched. Each phase ends with a barrier.
"""

from pyinfra import host

from operations import (
    database_host,
    databases,
    drills,
    etcd,
    firewall,
    guard,
    haproxy,
    keepalived,
    kernel,
    package_files,
    packages,
    patroni,
    pgbackrest,
    pgbouncer,
    services,
    sources,
    verify,
    without_replica,
)
from operations.beginning import current_run
from operations.managed import manage
from operations.manifest import last_deploy, layout, manifest
from operations.phases import barrier, confirm, take_lock

run = current_run()
me, cluster = run.host, run.cluster

take_lock(name="Lock the cluster", run=run)
barrier(name="The cluster is locked")
confirm(name="Keep the secrets", run=run)
barrier(name="The secrets are kept")

needed = packages.packages_of(cluster, me)
if run.sources:
    sources.bring_keys(name="Bring the keys of package sources", run=run, names=needed)
manage(name="Configure apt", wanted=packages.host_files(run.marker) + sources.files(run), remove=sources.not_needed(run))
if run.sources:
    sources.read(name="Read the package sources", run=run, names=needed)
if run.package_files:
    package_files.bring(name="Bring package files", run=run, names=needed)
packages.install(name="Install packages", run=run, names=needed, files={one.package: one.on_host for one in run.package_files})
if run.sources or run.package_files:
    sources.refuse_old(name="Packages are new enough", names=needed)
    if new := sources.unseen(run, needed):
        sources.tell_untested(name="Packages are of a release that was tested", names=new)
packages.hold(name="Keep packages at their version", names=cluster.packages(me))
if units := packages.masked_on(cluster, me):
    packages.mask(name="Mask the packages' own services", units=units)
manage(name="Configure the kernel", wanted=kernel.files(run))
kernel.apply(name="Apply the kernel's settings")
if cluster.all.firewall:
    manage(name="Configure the packet filter", wanted=firewall.programs())
    firewall.load(name="Load the packet filter", run=run)
else:
    firewall.remove(name="Remove the packet filter")
barrier(name="Packages are installed")

# Before anybody is told that there are no promises any more, nobody gives a primary up.
if me in cluster.postgres_hosts and not cluster.all.fast_failover:
    guard.leave(name="Wait for the lease of a primary that is gone")
if me in cluster.etcd_hosts:
    manage(name="Configure etcd", wanted=etcd.files(run))
    etcd.start(name="Start etcd", run=run)
for member in host.loop(cluster.etcd_hosts):
    if me == member:
        etcd.join(name=f"Join etcd: {member.name}", run=run)
        etcd.restart_if_outdated(name=f"Restart etcd if outdated: {member.name}", run=run)
barrier(name="etcd has a quorum")

if me in cluster.postgres_hosts:
    manage(name="Configure the host for PostgreSQL", wanted=database_host.files())
    database_host.apply(name="Leave PostgreSQL its shared memory and Patroni the watchdog")
    manage(name="Configure Patroni", wanted=patroni.files(run), remove=patroni.not_needed(run))
    patroni.judge_parameters(name="PostgreSQL takes the parameters", run=run)
if me in cluster.backup_hosts:
    services.make_user(name="Make the user of pgBackRest", user=pgbackrest.USER)
if me in cluster.pgbackrest_hosts:
    manage(name="Configure pgBackRest", wanted=pgbackrest.files(run), remove=pgbackrest.not_needed(run))
    if me in cluster.postgres_hosts and cluster.backup_hosts:
        pgbackrest.archive_histories_anew(name="A new repository gets the histories of timelines", run=run)
    pgbackrest.start(name="Start pgBackRest", run=run)
barrier(name="PostgreSQL would start")
if me in cluster.postgres_hosts:
    databases.change_passwords(name="Passwords between the hosts", run=run)
barrier(name="The primary knows the passwords")
# Who runs lets in who is new, before that one asks for a copy of the data.
if me in cluster.postgres_hosts:
    patroni.reload_if_outdated(name="Reload Patroni if outdated", run=run)
barrier(name="New members are let in")
# An empty cluster begins on its first host by name. Later this order means nothing: whoever runs is left running.
if me == cluster.postgres_hosts[0]:
    patroni.start(name="Start the first PostgreSQL", run=run)
barrier(name="The first PostgreSQL runs")
if me in cluster.postgres_hosts:
    patroni.start(name="Start PostgreSQL", run=run)
# There has to be a place for the archive before PostgreSQL is told to archive.
if cluster.backup_hosts:
    barrier(name="PostgreSQL can be backed up")
if me in cluster.backup_hosts:
    pgbackrest.make_stanza(name="Make room for backups", run=run)
if cluster.backup_hosts:
    barrier(name="There is room for backups")
if me == run.first(cluster.postgres_hosts):
    patroni.apply_dynamic_config(name="Apply the dynamic configuration", run=run)
if me in cluster.postgres_hosts:
    without_replica.ensure(name="Wait or go on without a replica", run=run)
    databases.ensure(name="Roles and databases", run=run)
    patroni.start_beside(name="Start the services beside Patroni")
    if cluster.all.fast_failover:
        manage(name="Configure the guard", wanted=guard.files(run))
        guard.start(name="Start the guard")
    if me in cluster.etcd_hosts:
        patroni.keep_leaders_apart(name="Keep the leaders of etcd and PostgreSQL apart")
barrier(name="PostgreSQL runs")

if me in cluster.backup_hosts:
    pgbackrest.archive(name="Archive the write-ahead log", run=run)
    pgbackrest.keep_backing_up(name="Back up", run=run)
    drills.schedule(name="Schedule drills of backups", run=run)
elif me in cluster.postgres_hosts and not cluster.backup_hosts:
    pgbackrest.leave(name="Archive no more")
if me in cluster.entry_hosts:
    services.make_user(name="Make the user of keepalived's check", user=keepalived.USER)
if me in cluster.haproxy_hosts:
    manage(name="Configure HAProxy", wanted=haproxy.files(run))
    haproxy.start_or_reload(name="Start or reload HAProxy", run=run)
    if cluster.all.fast_failover:
        manage(name="Configure what leaves an old primary", wanted=guard.proxy_files(run))
        guard.start_on_proxy(name="Leave an old primary at once")
    else:
        guard.leave_proxy(name="Leave an old primary by checks alone")
if me in cluster.pooler_hosts:
    services.make_user(name="Make the user of PgBouncer", user=pgbouncer.USER)
    manage(name="Configure PgBouncer", wanted=pgbouncer.files(run))
    pgbouncer.start(name="Start or reload PgBouncer", run=run)
elif me in cluster.haproxy_hosts:
    pgbouncer.leave(name="Pool connections no more")
if me in cluster.entry_hosts:
    manage(name="Configure keepalived", wanted=keepalived.files(run))
    keepalived.start_or_reload(name="Start or reload keepalived")
elif me in cluster.haproxy_hosts:
    keepalived.leave(name="Have no virtual address")
manage(name="Note what was written", wanted=[manifest(run), layout(run), last_deploy(run)])
barrier(name="HAProxy runs")

if me == run.first(cluster.postgres_hosts):
    verify.verify(name="Verify", run=run)
