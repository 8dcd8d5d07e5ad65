"""How our own programs come to a PostgreSQL on their host, as its superuser, by its socket."""

from __future__ import annotations

import os

SUPERUSER = "postgres"
CONNECT_SECONDS = 60
# The clock and the place decide how values look as text, which is what is compared and read. What is to happen at a login, and
# what roles have set for themselves, is not for this.
PLAIN = {
    "TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1",
    "lc_monetary": "C", "xmlbinary": "base64", "search_path": "pg_catalog", "event_triggers": "off", "statement_timeout": "0",
}  # fmt: skip


def environment(sockets: str, port: int, database: str = "postgres") -> dict[str, str]:
    """The environment for psql and its like; what this process has been given for another server is left out."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options = " ".join("-c " + f"{name}={value}".replace(" ", "\\ ") for name, value in PLAIN.items())
    return own | {
        "PGHOST": sockets, "PGPORT": str(port), "PGUSER": SUPERUSER, "PGDATABASE": database, "PGOPTIONS": options,
        "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS), "PGAPPNAME": "pgquorum drill", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
