"""Settings of HAProxy, the cluster's front door."""

haproxy_write_port = 5000  # the primary
haproxy_read_port = 5001  # the replicas; the primary only when there is none
haproxy_stats_port = 7000  # statistics: TLS, user "admin", password from `invoke secrets`

# A replica that lags by more WAL than this gets no reads.
haproxy_read_max_lag = "16MB"
haproxy_max_connections = 1000
