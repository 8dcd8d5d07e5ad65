"""PostgreSQL's own parameters: which exist, what values they take, and which of them this tool sets itself.

What each version of PostgreSQL knows stands in parameters-VERSION.tsv, taken from its pg_settings view by
parameters.sh.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import did_you_mean

VERSIONS = (17, 18)
NEWEST = VERSIONS[-1]

# Parameters the tool or Patroni sets, and the setting that decides them.
OWNED = {
    "listen_addresses": "the host's address",
    "port": "postgres_port",
    "data_directory": "postgres_data_directory",
    "config_file": "Patroni",
    "external_pid_file": "Patroni",
    "ssl_passphrase_command": "the tool's certificates",
    "hba_file": "client_networks",
    "ident_file": "client_networks",
    "cluster_name": "cluster_name",
    "synchronous_standby_names": "durability",
    "synchronous_commit": "durability",
    "ssl": "TLS, which is always on",
    "ssl_cert_file": "the tool's certificates",
    "ssl_key_file": "the tool's certificates",
    "ssl_ca_file": "the tool's certificates",
    # With one, PostgreSQL refuses every certificate whose authority has no list there: the replicas', too.
    **dict.fromkeys(("ssl_crl_file", "ssl_crl_dir"), "the tool's certificates, of which there is no list of revoked ones"),
    "password_encryption": "scram-sha-256, which is always on",
    "unix_socket_directories": "the package's socket directory",
    "hot_standby": "Patroni",
    "wal_level": "Patroni (replica; logical can be asked for)",
    "wal_log_hints": "Patroni, for pg_rewind",
    "primary_conninfo": "Patroni",
    "primary_slot_name": "Patroni",
    "synchronized_standby_slots": "durability",
    "restore_command": "Patroni",
    "logging_collector": "the journal, which has PostgreSQL's log with Patroni's (`invoke logs`)",
    # With these Patroni starts replicas; what postgres_parameters say is dropped without a word.
    **dict.fromkeys(
        (
            "archive_cleanup_command", "recovery_end_command", "recovery_min_apply_delay", "recovery_target",
            "recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_name",
            "recovery_target_time", "recovery_target_timeline", "recovery_target_xid",
        ),
        "Patroni, which says how replicas recover",
    ),
}  # fmt: skip
EXTENSION_PARAMETER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
ALLOWED_VALUES: dict[str, set[object]] = {"wal_level": {"replica", "logical"}, "logging_collector": {"off", False}}
# Below these Patroni silently uses its own defaults (patroni/postgresql/config.py, CMDLINE_OPTIONS).
PATRONIS_LEAST: dict[str, object] = {
    "max_connections": 25,
    "max_wal_senders": 3,
    "max_replication_slots": 4,
    "max_worker_processes": 2,
    "max_locks_per_transaction": 32,
    "wal_keep_size": "16MB",
}
# What logical slots need that survive a failover.
LOGICAL = {"wal_level": "logical", "hot_standby_feedback": "on", "sync_replication_slots": "on"}
# With any other value than these, what was acknowledged may be gone or damaged after a crash.
DURABLE = {
    "fsync": True,
    "full_page_writes": True,
    "data_sync_retry": False,
    "ignore_invalid_pages": False,
    "zero_damaged_pages": False,
}

MEMORY_UNITS: dict[str, float] = {
    "B": 1,
    "kB": 1024,
    "8kB": 8192,
    "MB": 1024**2,
    "16MB": 16 * 1024**2,
    "GB": 1024**3,
    "TB": 1024**4,
}
TIME_UNITS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
# Other words that a DateStyle may have for an order.
DATE_ORDERS = {
    "euro": "dmy", "european": "dmy", "us": "mdy", "noneuro": "mdy", "noneuropean": "mdy",
}  # fmt: skip
BOOLEANS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One row of pg_settings. `unit` is that of a bare number; `context` is 'postmaster' when a change needs a restart."""

    name: str
    kind: str
    context: str
    unit: str
    minimum: str
    maximum: str
    choices: tuple[str, ...]

    @property
    def needs_restart(self) -> bool:
        return self.context == "postmaster"


@cache
def known_parameters(version: int = NEWEST) -> Mapping[str, Parameter]:
    """All parameters of a version of PostgreSQL by name."""
    with Path(__file__).with_name(f"parameters-{version}.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {
            name: Parameter(name, kind, context, unit, low, high, tuple(filter(None, choices.split(","))))
            for name, kind, context, unit, low, high, choices in rows
        }


def spelled(name: str) -> str:
    """A parameter's name as PostgreSQL writes it, which takes it in any case: TimeZone for timezone. An unknown one as it is."""
    return _spellings().get(name.lower(), name)


@cache
def _spellings() -> Mapping[str, str]:
    return {name.lower(): name for version in VERSIONS for name in known_parameters(version)}


def normalize(name: str, value: object, version: int = NEWEST) -> object:
    """`value` in the parameter's base unit and Python's type, so that '64MB' and '65536kB' compare equal.

    Raises ValueError, saying what would be right, for a value that PostgreSQL would refuse.
    """
    parameter = known_parameters(version)[name]
    text = str(value).strip()
    match parameter.kind:
        case "bool":
            if text.lower() not in BOOLEANS:
                raise ValueError("should be 'on' or 'off'")
            return BOOLEANS[text.lower()]
        case "enum":
            choices = {choice.lower(): choice for choice in parameter.choices}
            # An enum that knows on and off takes every spelling of a boolean for them.
            word = text.lower()
            if word not in choices and word in BOOLEANS:
                word = "on" if BOOLEANS[word] else "off"
            if word not in choices:
                raise ValueError(f"should be one of {', '.join(parameter.choices)}")
            return choices[word]
        case "integer" | "real":
            return _number(parameter, text)
        case _:
            return text


def is_as(name: str, running: object, wanted: object, version: int = NEWEST) -> bool:
    """Whether a value that PostgreSQL tells of is the one that is wanted: it writes some in a way of its own, such as
    `iso, dmy` as `ISO, DMY`. Raises ValueError for one that it would refuse."""
    if normalize(name, running, version) == normalize(name, wanted, version):
        return True
    told, asked = str(running).strip(), str(wanted).strip()
    match name:
        case "DateStyle":  # what is not said, the style or the order, stays as it was
            return _date_words(asked) <= _date_words(told)
        case "client_encoding":
            return re.sub(r"\W", "", told).lower() == re.sub(r"\W", "", asked).lower()
        case "default_text_search_config":  # with the schema in which it was found
            return "." not in asked and told.rpartition(".")[2] == asked
        case "wal_compression":  # `on` is one of the methods
            return {str(normalize(name, one, version)) for one in (told, asked)} == {"on", "pglz"}
        case _:
            return False


def _date_words(value: str) -> frozenset[str]:
    """What a DateStyle says, in PostgreSQL's own words."""
    return frozenset(DATE_ORDERS.get(word, word) for word in re.findall(r"[a-z]+", value.lower()))


def in_one_unit(name: str, *values: object, version: int = NEWEST) -> tuple[object, ...]:
    """Values of a parameter to be read side by side, in the largest unit in which all are whole: 1024MB and 256MB.

    A number without a unit, such as -1 for `no limit`, and what PostgreSQL would refuse are left as they are.
    """
    parameter = known_parameters(version)[name]
    units = _units(parameter)
    if not units:
        return values
    smallest, *_ = units.values()
    try:
        sizes = [round(float(str(normalize(name, value, version))) * units[parameter.unit] / smallest) for value in values]
    except ValueError:
        return values
    # The largest first.
    written = {unit: round(size / smallest) for unit, size in reversed(units.items()) if unit[0].isalpha()}
    unit = next(u for u, size in written.items() if not any(number % size for number in sizes if number > 0))
    return tuple(f"{number // written[unit]}{unit}" if number > 0 else v for number, v in zip(sizes, values, strict=True))


def _units(parameter: Parameter) -> dict[str, float]:
    """The units that values of a parameter may have; none where it is a bare number."""
    return next((units for units in (MEMORY_UNITS, TIME_UNITS) if parameter.unit in units), {})


def _number(parameter: Parameter, text: str) -> float:
    units = _units(parameter)
    match = re.fullmatch(r"([+-]?(?:0x[0-9A-Fa-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?))\s*([A-Za-z]*)", text)
    if not match or (match[2] and match[2] not in units):
        names = [unit for unit in units if not unit[0].isdigit()]
        kind = "a whole number" if parameter.kind == "integer" else "a number"
        raise ValueError(f"should be {kind}" + (f", alone or with one of the units {', '.join(names)}" if names else ""))
    number = _value(match[1], whole=parameter.kind == "integer")
    if match[2]:
        number = number * units[match[2]] / units[parameter.unit]
    if parameter.kind == "integer" and math.isfinite(number):
        number = round(number)
    if not float(parameter.minimum) <= number <= float(parameter.maximum):
        unit = f" (in units of {parameter.unit})" if parameter.unit else ""
        raise ValueError(f"should be from {parameter.minimum} to {parameter.maximum}{unit}")
    return number


def _value(digits: str, *, whole: bool) -> float:
    """A number as PostgreSQL reads it: a whole one that begins with 0 is octal, with 0x hexadecimal. Raises ValueError."""
    sign, bare = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
    try:
        if bare.startswith("0x"):
            return sign * float(int(bare, 16))
        if whole and re.fullmatch(r"0\d+", bare):
            if not re.fullmatch("[0-7]+", bare):
                raise ValueError("begins with 0 and so should be octal, with digits from 0 to 7")
            return sign * float(int(bare, 8))
        return sign * float(bare)
    except OverflowError:
        return sign * math.inf


def parameter_problems(parameters: Mapping[str, object], *, durable: bool = True, version: int = NEWEST) -> Iterator[str]:
    """What is wrong with postgres_parameters, one sentence each; `durable`: what is acknowledged has to be kept."""
    known = known_parameters(version)
    for name, value in parameters.items():
        where = f"postgres_parameters[{name}] = {value!r}"
        if name in OWNED and value not in ALLOWED_VALUES.get(name, ()):
            yield f"{where}: is decided by {OWNED[name]}"
        elif not str(value).isprintable():
            yield f"{where}: has a character that can't be printed, such as a line break"
        elif EXTENSION_PARAMETER.fullmatch(name):
            continue  # only a server with the extension can judge it
        elif name not in known:
            yield f"{where}: PostgreSQL {version} has no such parameter{did_you_mean(name, known)}"
        elif known[name].context == "internal":
            yield f"{where}: can only be read, not set"
        else:
            try:
                yield from (f"{where}: {text}" for text in _unwise(name, normalize(name, value, version), durable=durable))
            except ValueError as error:
                yield f"{where}: {error}"


def _unwise(name: str, value: object, *, durable: bool) -> Iterator[str]:
    """What speaks against a value that PostgreSQL would take."""
    if name in PATRONIS_LEAST and float(str(value)) < float(str(normalize(name, PATRONIS_LEAST[name]))):
        yield f"should be at least {PATRONIS_LEAST[name]}: below, Patroni uses a value of its own without a word"
    if durable and name in DURABLE and value != DURABLE[name]:
        kept = "on" if DURABLE[name] else "off"
        yield f"should be {kept}: else acknowledged writes may be lost in a crash (only with durability = 'asynchronous')"
