"""Time zones from the pinned package `tzdata`, never the computer's: a name is the same zone everywhere."""

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from invoicing.errors import InvoicingError


@cache
def zone(name: str) -> ZoneInfo:
    """Give the zone of this IANA name, such as `Europe/Berlin`."""
    # Only names that the package lists lead to a file: none leads out of it.
    if name not in _names():
        raise InvoicingError(
            f"there is no time zone {name!r}: an IANA name is needed, such as Europe/Berlin",
            "unknown_time_zone",
        )
    with (files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def _names() -> frozenset[str]:
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())
