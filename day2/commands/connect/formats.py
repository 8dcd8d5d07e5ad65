"""A connection in the forms that programs take. Pure: libpq's parameters in, with a password or without, text out.

Hosts are given by name, which the certificate bears, and by address where the form has a place for it, so that no DNS is needed;
JDBC has none, and takes addresses, which the certificate bears, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from urllib.parse import quote, urlencode

from cluster.errors import ClusterError, did_you_mean
from day2.hosts.dsn import as_string

Values = Mapping[str, str]
OF_THE_ADDRESS = ("host", "port", "dbname", "user", "password")
# The environment's names of libpq's parameters.
VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "channel_binding": "PGCHANNELBINDING",
    "sslrootcert": "PGSSLROOTCERT",
}


def written(form: str, values: Values) -> str:
    """The connection in one of FORMS. Raises ClusterError for another, and for pgpass without a password."""
    if form not in FORMS:
        raise ClusterError(f"--format {form}: should be one of {', '.join(FORMS)}{did_you_mean(form, FORMS)}")
    return FORMS[form](values)


def uri(values: Values) -> str:
    """libpq's URI."""
    places = ",".join(f"{_bracketed(host)}:{port}" for host, port in _places(values["host"], values))
    return f"postgresql://{_user(values)}@{places}/{_quoted(values['dbname'])}?{_query(_others(values))}"


def sqlalchemy(values: Values) -> str:
    """SQLAlchemy's URL for psycopg, to which the parameters go as they are."""
    query = {"host": values["host"], "port": values["port"], **_others(values)}
    return f"postgresql+psycopg://{_user(values)}@/{_quoted(values['dbname'])}?{_query(query)}"


def jdbc(values: Values) -> str:
    """The JDBC driver's URL."""
    places = ",".join(f"{_bracketed(_in_full(host))}:{port}" for host, port in _places(values["hostaddr"], values))
    theirs = {"channel_binding": "channelBinding"}
    names = ("user", "password", "sslmode", "channel_binding", "sslrootcert")
    query = {theirs.get(name, name): values[name] for name in names if name in values}
    return f"jdbc:postgresql://{places}/{_quoted(values['dbname'])}?{_query(query)}"


def environment(values: Values) -> str:
    """Lines for a shell, which libpq and much else reads."""
    return "\n".join(f"export {VARIABLES[name]}={shlex.quote(value)}" for name, value in values.items())


def pgpass(values: Values) -> str:
    """Lines for ~/.pgpass, which only its owner may read."""
    if "password" not in values:
        raise ClusterError("--format pgpass: has the password in it, so say --with-password, too")

    def field(text: str) -> str:
        return text.replace("\\", "\\\\").replace(":", "\\:")

    rest = ":".join(field(values[name]) for name in ("dbname", "user", "password"))
    return "\n".join(f"{field(host)}:{port}:{rest}" for host, port in _places(values["host"], values))


def libpq(values: Values) -> str:
    """`key=value` pairs."""
    return as_string(dict(values))


FORMS: dict[str, Callable[[Values], str]] = {
    "libpq": libpq, "uri": uri, "jdbc": jdbc, "sqlalchemy": sqlalchemy, "env": environment, "pgpass": pgpass,
}  # fmt: skip


def _places(hosts: str, values: Values) -> list[tuple[str, str]]:
    return list(zip(hosts.split(","), values["port"].split(","), strict=True))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _in_full(address: str) -> str:
    """An address as Java writes those of a certificate, with which the driver compares it letter by letter: nothing left out."""
    if ":" not in address:
        return address
    return ":".join(f"{int(group, 16):x}" for group in IPv6Address(address).exploded.split(":"))


def _user(values: Values) -> str:
    return ":".join(_quoted(values[name]) for name in ("user", "password") if name in values)


def _others(values: Values) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in OF_THE_ADDRESS}


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _query(values: Values) -> str:
    return urlencode(values, quote_via=quote, safe="/,:")
