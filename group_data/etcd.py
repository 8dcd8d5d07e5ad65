"""Settings of etcd, the cluster's memory of who leads."""

# Where its packages come from: "auto" is the host's distribution, or Debian forky where that has an etcd that is too old;
# "distribution" and "debian" insist. A mirror of Debian: None is the one that a Debian host uses itself; with hosts that run
# Ubuntu name one, "http://mirror.example.com/debian". Its key, as a path here: None is the one that the distribution has. "files"
# takes the two packages that etcd_files names, by their paths here or URLs, each with its SHA-256:
# {"packages/etcd-server_3.5.30-2_amd64.deb": "0123...", ...}.
etcd_source = "auto"
etcd_source_url = None
etcd_source_key = None
etcd_files = {}

# Where Patroni asks, and where the members talk among themselves.
etcd_client_port = 2379
etcd_peer_port = 2380

# On a disk with quick fsync (below 10 ms), not shared with a busy PostgreSQL where that can be helped.
etcd_data_directory = "/var/lib/etcd/pgquorum"

# The database may grow to this size; beyond it etcd refuses writes. History is compacted after so many hours.
etcd_quota = "2GB"
etcd_compaction_hours = 1
