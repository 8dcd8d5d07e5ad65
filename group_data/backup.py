"""Settings of backups: of the host in group `backup`, where there is one."""

# Where pgBackRest answers, there and on the PostgreSQL hosts.
backup_port = 8432

# Where the backups and the archive of the write-ahead log lie, on a disk that has room for several times the data.
backup_directory = "/var/lib/pgbackrest"

# When a full backup is made, and when one of what has changed since the last, as systemd has it (man systemd.time), by the clock
# of the host. They are taken from a replica, and never two at once.
backup_full_schedule = "Sun 01:00"
backup_incr_schedule = "Mon..Sat 01:00"

# So many full backups are kept, with what was made between them, and the archive that leads on from the oldest; or, where
# backup_keep_days is set, as many as it takes to go back to any moment of so many days.
backup_keep_full = 4
backup_keep_days = None

# `status` complains when the newest backup is older, in hours, and when a file of the write-ahead log has waited longer to be
# archived, in seconds.
backup_max_age_hours = 30
backup_max_archive_lag = 300
