"""Whether the hosts still know each other while certificate authorities are changed. Pure.

A deploy brings certificates, and whom to trust, to one host a moment sooner than to another: so both ends have to be trusted by
what a host has and by what it is to have. A new authority is trusted everywhere before it signs, and the former one as long as
anybody shows what it has signed. `NAME-ca.crt` in the secrets directory may have several certificates: the first signs, all are
trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .certificates import fingerprints
from .survey import HostSurvey

WAY = "hosts would refuse each other half way (docs/runbook.md, A new certificate authority)"


def problems(directory: str, wanted: Mapping[str, bytes], surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    """Why hosts can't be brought to the authorities `wanted`, the certificates of each by name, as they are in `directory`."""
    for name, text in wanted.items():
        first, *_ = new = fingerprints(text)
        trusted = [(host, known) for host, survey in surveys.items() if (known := _known(name, survey))]
        missing = sorted({host for host, known in trusted for one in known if one[0] not in new})
        unknown = sorted({host for host, known in trusted for one in known if first not in one})
        file = f"{directory}/{name}-ca.crt"
        if missing:
            yield f"{file} lacks the certificate of the authority by which {', '.join(missing)} is known: {WAY}"
        elif unknown:
            yield f"{file} begins with the certificate of an authority that {', '.join(unknown)} does not trust yet: {WAY}"


def _known(name: str, survey: HostSurvey) -> list[tuple[bytes, ...]]:
    """What each file of a host has of an authority; nothing of one that has none."""
    return [known for one, text in survey.authorities if one == name and (known := fingerprints(text))]
