"""Settings of backups: of the host in group `backup`, where there is one."""

# Where pgBackRest answers, there and on the PostgreSQL hosts.
backup_port = 8432

# Where the backups and the archive of the write-ahead log lie, on a disk that has room for several times the data.
backup_directory = "/var/lib/pgbackrest"

# The repositories that they lie in, by names of yours: one of type "directory" is that directory. In its place, or besides, there
# may be an object store ("s3") and an SFTP server ("sftp"), which the host above alone reaches: each gets every backup and the
# whole archive. Their keys have no place here (docs/settings.md, Repositories).
backup_repositories = {"local": {"type": "directory"}}

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

# What becomes of write-ahead log that can't be archived. "keep": it waits in pg_wal until it is, and when the disk there is full
# PostgreSQL stops. "drop": where more waits than backup_drop_above, the oldest is given up, and PostgreSQL goes on; nothing goes
# back to a moment since then, until another backup is made. `status` tells of either beforehand.
backup_when_stuck = "keep"
backup_drop_above = "4GB"

# When the newest backup is proven: restored on the host that keeps it, and checked by a PostgreSQL that runs on the copy. It
# needs room for the data there, for as long as it goes on. None: only by `invoke backup.drill`.
backup_drill_schedule = "Sun 04:00"

# `invoke backup.drill` compares every table with a replica, whose replay it keeps still for so many seconds at most. That goes on
# acknowledging writes, and has no reads once it lags. What is not read by then is not compared. 0: compare nothing.
backup_drill_pause = 300

# `status` complains when no drill has proven a backup for so many days. None: never.
backup_max_proven_days = 15
