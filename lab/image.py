"""The base image: built once from its recipe, kept outside the repository, never half there."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import packages, recipe
from lab.command import LabError, run
from lab.making import ALONE, delete
from lab.spec import LabSpec
from lab.state import IMAGES, locked


def path(name: str) -> Path:
    """Where the image of that name is."""
    return IMAGES / name


def ensure(name: str, suite: str, spec: LabSpec, say: Callable[[str], None]) -> None:
    """Build the image of a suite for a lab unless it is there, or wait while another command builds it.

    Raises LabError if it cannot be built, or if `name` is not what today's recipe makes.
    """
    if path(name).is_dir():
        return
    if name != recipe.image_name(suite, spec.mirror):
        raise LabError(f"image {name}, which the disks of lab {spec.name} lie over, is gone: `invoke lab.down`, then up")
    with locked(f"the image of {suite}", say):
        if not path(name).is_dir():
            packages.ensure(suite, spec.mirror, say)
            _build(name, suite, spec, say)


def _build(name: str, suite: str, spec: LabSpec, say: Callable[[str], None]) -> None:
    say(f"building the image {name} (once; half a minute, more on a slow network)")
    draft = IMAGES / f"unfinished-{suite}"
    IMAGES.mkdir(mode=0o700, parents=True, exist_ok=True)
    delete(draft)
    try:
        run(*ALONE, *recipe.command(suite, spec.mirror, str(draft)))
        draft.rename(path(name))
    finally:
        with suppress(LabError):  # the next build begins with it as well
            delete(draft)


def remove_outdated(suite: str, keep: set[str], say: Callable[[str], None]) -> None:
    """Remove the images of a suite's older recipes that no lab lies over. The caller holds the lock of the images.

    `keep` has the names of those that stay.
    """
    for old in sorted(IMAGES.glob(f"{suite}-*")):
        if old.name not in keep:
            say(f"removing the image {old.name}, which no lab uses any more")
            delete(old)
