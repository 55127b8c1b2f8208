"""The fonts that documents are printed with, and which text they can show.

They come as wheels in the hash lock, so that a document has the same bytes on every machine; the computer's
own fonts are never looked at. A script that is not covered takes one more package in `pyproject.toml` and one
more line in FONTS.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple
from unicodedata import category, normalize

from fontTools.ttLib import TTFont

from invoicing.errors import Held


class Font(NamedTuple):
    """A family, the Python package that carries it, and the file of its regular weight there."""

    family: str
    package: str
    file: str

    def path(self) -> Path:
        """Where the file is; raises `Held` if it is nowhere."""
        try:
            path = Path(str(files(self.package))) / self.file
        except ModuleNotFoundError:
            raise self._missing() from None
        if not path.is_file():
            raise self._missing()
        return path

    def _missing(self) -> Held:
        name = self.package.replace("_", "-")
        return Held(
            f"the font {self.family} is not there: install the package {name} as requirements.lock pins it "
            "(`make install`), then run again",
            "font_missing",
        )


def _justmytype(pack: str, script: str) -> Font:
    return Font(
        f"Noto Sans {script}",
        f"justmytype_intl_{pack}",
        f"fonts/ofl/notosans{script.lower()}/NotoSans{script}[wdth,wght].ttf",
    )


# A text is shown in the first that has its characters. IBM Plex draws an Arabic letter as one glyph, so that
# the text of a PDF can be searched; Noto, whose dots are glyphs of their own, is for what Plex has not.
FONTS: Final = (
    Font("Noto Sans", "fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf"),
    Font("IBM Plex Sans Arabic", "fontpkg_ibm_plex_sans_arabic", "files/IBMPlexSansArabic-Regular.ttf"),
    _justmytype("rtl", "Arabic"),
    _justmytype("rtl", "Hebrew"),
    _justmytype("south_asia", "Bengali"),
    _justmytype("south_asia", "Tamil"),
    _justmytype("south_asia", "Telugu"),
    _justmytype("sea", "Thai"),
    _justmytype("sea", "Lao"),
    _justmytype("sea", "Khmer"),
    _justmytype("sea", "Myanmar"),
    _justmytype("africa", "Ethiopic"),
    Font("Noto Sans CJK JP", "noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf"),
)

# They say how their neighbours are drawn or ordered, and have no look of their own.
_INVISIBLE: Final = frozenset("\u200c\u200d\u200e\u200f\ufe0e\ufe0f")
_NEVER_SHOWN: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))


def folders() -> list[Path]:
    """Where the fonts lie; raises `Held` with code `font_missing` if one is not there."""
    return [font.path().parent for font in FONTS]


def not_shown(text: str) -> str:
    """Which characters of this text cannot be printed, each once; empty if it can be."""
    if text.isascii() and text.isprintable():
        return ""
    return "".join(dict.fromkeys("".join(cluster for cluster in _clusters(text) if not _is_shown(cluster))))


def _clusters(text: str) -> list[str]:
    """Characters with the marks upon them, which are drawn together."""
    clusters: list[str] = []
    for character in (each for each in text if each not in _INVISIBLE):
        if clusters and category(character).startswith("M"):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _is_shown(cluster: str) -> bool:
    # Line ends, controls, and what turns the order of its neighbours round have no place in a name.
    if category(cluster[0]) in _NEVER_SHOWN:
        return False
    return any(_has(font, cluster) or _has(font, normalize("NFC", cluster)) for font in FONTS)


def _has(font: Font, cluster: str) -> bool:
    return _characters(font).issuperset(map(ord, cluster))


@cache
def _characters(font: Font) -> frozenset[int]:
    with TTFont(font.path(), lazy=True) as file:
        return frozenset(file.getBestCmap())
