"""What an invoice's PDF and CSV say is what the document says; the PDF is read back by another library."""

import csv
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
from libfaketime import get_reload_information

from invoicing.documents import lines_csv, not_shown, records_csv, render_pdf
from invoicing.documents.fonts import Font
from invoicing.errors import Held
from invoicing.model import Basis, Document, Line, LineKind, Party, Span

REPOSITORY = Path(__file__).parents[2]
OF_POINTS = 72 / 25.4


def at(*wall_clock, zone="Europe/Berlin"):
    return round(datetime(*wall_clock, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


OCTOBER = Span(at(2026, 10, 1), at(2026, 11, 1))
FIRST_DAYS = Span(at(2026, 10, 1), at(2026, 10, 12, 14, 30))
SEPTEMBER = Span(at(2026, 9, 1), at(2026, 10, 1))
TAX = Decimal("19.000")


def usage(amount_minor, quantity=1, bot_id="shop", unit_price="0.05", percent=TAX):
    kind, basis, plan = LineKind.USAGE, Basis.TIER, ("advanced", 2)
    return Line(
        kind, basis, percent, amount_minor, quantity, bot_id, plan, OCTOBER, Decimal(unit_price), first=1000
    )


LINES = (
    Line(LineKind.PRICE, Basis.PRICE, TAX, 1073, 0, "shop", ("standard", 1), FIRST_DAYS, Decimal(29)),
    Line(LineKind.USAGE, Basis.INCLUDED, TAX, 0, 1000, "shop", ("advanced", 2), OCTOBER),
    usage(123450, 24690),
    Line(LineKind.ALERT, Basis.BEYOND, TAX, 0, 7, "desk", ("standard", 1), OCTOBER),
    usage(45, 36, "desk", "0.0125"),
    Line(LineKind.USAGE, Basis.TRIAL, TAX, 0, 12, "desk", ("standard", 1), OCTOBER),
    Line(
        LineKind.ADJUSTMENT, Basis.OTHER, TAX, -250, 3, "shop", during=SEPTEMBER, detail="Of AC-2026-000041"
    ),
    Line(LineKind.CREDIT, Basis.OTHER, Decimal(7), -1000, detail="Outage of 12 October"),
    Line(LineKind.TAX, Basis.OTHER, TAX, 23620),
    Line(LineKind.TAX, Basis.OTHER, Decimal(7), -70),
)


def sample(lines=LINES, **changes):
    document = Document(
        number="AC-2026-000042",
        kind="period",
        corrects=None,
        issued_ms=at(2026, 11, 2, 9),
        due_ms=at(2026, 12, 2, 9),
        during=OCTOBER,
        time_zone="Europe/Berlin",
        currency="EUR",
        seller=Party("Botwerk GmbH", ("Invalidenstraße 117", "10115 Berlin"), "DE", "DE 123 456 789"),
        buyer=Party("Gęślą Jaźń S.A.", ("ul. Świętokrzyska 12/4", "00-044 Warszawa"), "PL", "PL 5252344078"),
        account_id="acme",
        bot_names={"shop": "Shop helper", "desk": "Service desk"},
        plan_names={"standard": "Standard", "advanced": "Advanced"},
        lines=lines,
        total_minor=sum(line.amount_minor for line in lines),
        paid_minor=5000,
        notes=("Thank you.",),
    )
    return replace(document, **changes)


def pages_of(document):
    with pypdfium2.PdfDocument(render_pdf(document)) as pdf:
        return [page.get_textpage().get_text_range().split("\r\n") for page in pdf]


def text_of(document):
    return [row for page in pages_of(document) for row in page]


def test_the_pdf_says_what_the_document_says():
    assert text_of(sample()) == [
        "Invoice",
        "Seller",
        "Botwerk GmbH",
        "Invalidenstraße 117",
        "10115 Berlin",
        "Germany",
        "Tax ID DE 123 456 789",
        "Buyer",
        "Gęślą Jaźń S.A.",
        "ul. Świętokrzyska 12/4",
        "00-044 Warszawa",
        "Poland",
        "Tax ID PL 5252344078",
        "Number AC-2026-000042",
        "Issue date 2 Nov 2026",
        "Due date 2 Dec 2026",
        "Validity period 1 Oct 2026 to 31 Oct 2026",
        "Time zone Europe/Berlin",
        "Account acme",
        "Description Plan Tax Quantity Unit price Amount, EUR",
        "Shop helper shop",
        "Plan price",
        "1 Oct 2026 00:00 until 12 Oct 2026 14:30 (exclusive)",
        "Standard 19 % 29.00 10.73",
        "Usage sessions, included Advanced 19 % 1,000 0.00",
        "Usage sessions beyond the allowance Advanced 19 % 24,690 0.05 1,234.50",
        "Adjustment",
        "Of AC-2026-000041",
        "1 Sep 2026 to 30 Sep 2026",
        "19 % 3 -2.50",
        "Service desk desk",
        "Alert sessions beyond the allowance, not charged Standard 19 % 7 0.00",
        "Usage sessions beyond the allowance Advanced 19 % 36 0.0125 0.45",
        "Usage sessions, trial Standard 19 % 12 0.00",
        "Account",
        "Credit",
        "Outage of 12 October",
        "7 % -10.00",
        "Subtotal 1,233.18 EUR",
        "Tax 19 % of 1,243.18 EUR 236.20 EUR",
        "Tax 7 % of -10.00 EUR -0.70 EUR",
        "Total 1,468.68 EUR",
        "Amount paid 50.00 EUR",
        "Amount due 1,418.68 EUR",
        "Thank you.",
        "Invoice AC-2026-000042 1 / 1",
    ]


def test_a_credit_note_names_its_invoice_and_is_in_the_buyers_favour():
    lines = tuple(replace(line, amount_minor=-line.amount_minor) for line in LINES)
    rows = text_of(
        sample(lines, kind="credit_note", number="AC-2026-000050", corrects="AC-2026-000042", paid_minor=0)
    )
    assert rows[0] == "Credit note"
    assert "Corrects invoice AC-2026-000042" in rows
    assert not [row for row in rows if row.startswith("Due date")]
    assert "Usage sessions beyond the allowance Advanced 19 % 24,690 0.05 -1,234.50" in rows
    assert "Total -1,468.68 EUR" in rows
    assert "Balance in your favour 1,468.68 EUR" in rows


@pytest.mark.parametrize(
    ("currency", "total", "line"),
    [("JPY", "1,234,567 JPY", "7 0.05 1,234,567"), ("KWD", "1,234.567 KWD", "7 0.050 1,234.567")],
)
def test_amounts_have_the_decimals_of_their_currency(currency, total, line):
    rows = text_of(sample((usage(1234567, 7),), currency=currency, paid_minor=0))
    assert f"Usage sessions beyond the allowance Advanced 19 % {line}" in rows
    assert {f"Subtotal {total}", f"Total {total}", f"Amount due {total}"} <= set(rows)


@pytest.mark.parametrize(
    ("zone", "start", "end", "shown"),
    [
        ("Asia/Tokyo", (2026, 2, 1), (2026, 3, 1), "1 Feb 2026 to 28 Feb 2026"),
        ("Asia/Kathmandu", (2026, 2, 1), (2026, 2, 2), "1 Feb 2026"),
        (
            "America/New_York",
            (2026, 3, 8, 1),
            (2026, 4, 8),
            "8 Mar 2026 01:00 until 8 Apr 2026 00:00 (exclusive)",
        ),
        (
            "Europe/Berlin",
            (2026, 10, 25, 1, 59, 30),
            (2026, 10, 25, 2, 30),
            "25 Oct 2026 01:59:30 until 25 Oct 2026 02:30 UTC+0200 (exclusive)",
        ),
    ],
)
def test_a_period_is_shown_in_the_accounts_time_zone(zone, start, end, shown):
    during = Span(at(*start, zone=zone), at(*end, zone=zone))
    rows = "\n".join(text_of(sample(during=during, time_zone=zone)))
    assert f"Validity period {shown}" in rows.replace(" \n", " ")
    assert f"Time zone {zone}" in rows


@pytest.mark.parametrize(
    "name",
    [
        "株式会社サンプル",
        "北京科技有限公司",
        "臺灣測試股份有限公司",
        "한국 주식회사 챗봇",
        "مكتب بغداد",
        "گفتگو پنجم",
        "חברת הבדיקה בע״מ",
        "Ελληνική Εταιρεία Α.Ε.",
        "Общество «Ромашка»",
        "Zażółć gęślą jaźń",
        "Đặng Nguyễn Thị Ánh",
        "नमस्ते दुनिया",
        "บริษัท ทดสอบ จำกัด",
        "বাংলা বট",
        "தமிழ் போட்",
        "తెలుగు బాట్",
        "አማርኛ ቦት",
        "ລາວ",
        "မြန်မာ",
        "Café → ₹ ★ №",
    ],
)
def test_names_of_every_script_are_read_as_they_were_written(name):
    rows = text_of(sample(buyer=Party(name, (name,), "JP", ""), bot_names={"shop": name}))
    assert rows.count(name) == 2
    assert {f"{name} shop", f"shop {name}"} & set(rows)


def test_names_are_text_and_never_markup():
    name = '#panic("x") *bold* $x$ _a_ `c` <l> @r \\ // /* = #let'
    rows = text_of(sample(bot_names={"shop": name}, notes=(name,)))
    assert f"{name} shop" in rows
    assert name in rows


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("Shop \U0001f916 helper", "U+1F916"),
        ("two\nlines", "U+000A"),
        ("turned \u202eround", "U+202E"),
        ("e\u0301 and \U0001f642\u0301", "U+1F642, U+0301"),
    ],
)
def test_an_invoice_with_a_character_that_no_font_has_is_held(name, codes):
    with pytest.raises(Held) as held:
        render_pdf(sample(bot_names={"desk": name}))
    assert held.value.code == "font_missing"
    assert str(held.value) == f"no font shows {codes} in bots 2 name, {name!r}: change it there"


@pytest.mark.parametrize(
    "field", ["number", "account_id", "corrects", "notes", "plan_names", "seller", "detail"]
)
def test_no_text_of_a_document_escapes_the_check(field):
    text = "\U0001f916"
    changes = {
        "notes": ("", text),
        "plan_names": {"standard": text},
        "seller": Party("A", ("B", text), "DE", ""),
    }
    if field == "detail":
        document = sample((replace(LINES[0], detail=text),))
    else:
        document = sample(**{field: changes.get(field, text)})
    with pytest.raises(Held, match="U\\+1F916"):
        render_pdf(document)


def test_what_joins_letters_needs_no_glyph():
    assert not_shown("می\u200cخواهم क्\u200dष ☎\ufe0f") == ""


@pytest.mark.parametrize(
    "font", [Font("Lost Sans", "lost_sans", "a.ttf"), Font("Lost Sans", "invoicing", "a.ttf")]
)
def test_a_font_that_is_not_installed_holds_the_invoice_and_says_how_to_get_it(font):
    with pytest.raises(Held, match="Lost Sans is not there: install the package .*make install") as held:
        font.path()
    assert held.value.code == "font_missing"


def test_an_invoice_whose_total_is_not_the_sum_of_its_lines_is_held():
    with pytest.raises(Held) as held:
        render_pdf(sample(total_minor=146869))
    assert held.value.code == "wrong_total"


def test_two_thousand_lines_go_over_pages_with_their_header():
    lines = tuple(usage(100_001 + 7 * number, number + 1, f"bot-{number // 50}") for number in range(2000))
    pages = pages_of(sample(lines, paid_minor=0))
    for number, page in enumerate(pages, 1):
        assert page[-1] == f"Invoice AC-2026-000042 {number} / {len(pages)}"
        assert "Description Plan Tax Quantity Unit price Amount, EUR" in page[:25]
    rows = [row.rsplit(" ", 3) for page in pages for row in page if row.startswith("Usage sessions")]
    assert [(quantity, amount) for _, quantity, _, amount in rows] == [
        (f"{line.quantity:,}", f"{line.amount_minor / 100:,.2f}") for line in lines
    ]
    assert f"Total {sum(line.amount_minor for line in lines) / 100:,.2f} EUR" in pages[-1]


@pytest.mark.parametrize(
    "name", ["long" * 60, "a long name of many words " * 10, "名前" * 60, "/".join(["ab"] * 99)]
)
def test_long_names_stay_within_the_margins(name):
    party = Party(name, (name,), "DE", name)
    plans, bots = {"standard": name, "advanced": name}, {"shop": name, "desk": name}
    document = sample(buyer=party, seller=party, plan_names=plans, bot_names=bots, account_id=name)
    with pypdfium2.PdfDocument(render_pdf(document)) as pdf:
        for page in pdf:
            width, _ = page.get_size()
            text = page.get_textpage()
            boxes = [text.get_charbox(index) for index in range(text.count_chars())]
            assert max(right for _, _, right, _ in boxes) <= width - 19.5 * OF_POINTS
            assert min(left for left, _, right, _ in boxes if right > left) >= 19.5 * OF_POINTS


def test_the_same_document_has_the_same_bytes_in_another_process_place_and_year():
    command = "from tests.invoicing.test_documents import digest; print(digest())"
    _, faketime = get_reload_information()
    elsewhere = {"FAKETIME": "+400d", "TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", command],
        cwd=REPOSITORY,
        env={**os.environ, **faketime, **elsewhere},
        check=True,
        capture_output=True,
        text=True,
    )
    assert other.stdout.strip() == digest()


def digest():
    return hashlib.sha256(render_pdf(sample(notes=("日本語 العربية हिन्दी",)))).hexdigest()


def test_documents_may_be_printed_at_the_same_time():
    documents = [sample(number=f"AC-{number}") for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(render_pdf, documents))
    assert together == [render_pdf(document) for document in documents]


def test_the_pdf_is_tagged_for_archives_and_dated_when_it_was_issued():
    printed = render_pdf(sample())
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>" in printed
    with pypdfium2.PdfDocument(printed) as pdf:
        assert pdf.is_tagged()
        about = pdf.get_metadata_dict()
    assert about["Title"] == "Invoice AC-2026-000042"
    assert about["Author"] == "Botwerk GmbH"
    assert about["CreationDate"].startswith("D:20261102080000")


def rows_of(text):
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


def test_the_csv_of_lines_adds_up_to_the_total():
    text = lines_csv(sample())
    rows = rows_of(text)
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal("1468.68")
    assert text.count("\r\n") == len(LINES) + 1 == text.count("\n")
    assert rows[0] == {
        "invoice": "AC-2026-000042",
        "line": "1",
        "kind": "price",
        "basis": "price",
        "bot_id": "shop",
        "bot_name": "Shop helper",
        "plan_id": "standard",
        "plan_version": "1",
        "plan_name": "Standard",
        "from": "2026-09-30T22:00:00.000Z",
        "to": "2026-10-12T12:30:00.000Z",
        "quantity": "0",
        "unit_price": "29",
        "tax_percent": "19.000",
        "amount": "10.73",
        "currency": "EUR",
        "detail": "",
    }
    assert rows[6]["amount"] == "-2.50"
    assert rows[7]["from"] == rows[7]["bot_id"] == rows[7]["unit_price"] == ""


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "-1234567"), ("KWD", "-1234.567")])
def test_amounts_in_csv_are_plain_numbers(currency, amount):
    (row,) = rows_of(lines_csv(sample((usage(-1234567, unit_price="1E-7"),), currency=currency)))
    assert (row["amount"], row["unit_price"]) == (amount, "0.0000001")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_no_text_is_a_formula_to_a_spreadsheet(name):
    document = sample((replace(LINES[6], detail=name),), bot_names={"shop": name}, number=name)
    (row,) = rows_of(lines_csv(document))
    assert (row["detail"], row["bot_name"], row["invoice"]) == (f"'{name}",) * 3
    assert row["amount"] == "-2.50"
    (record,) = rows_of("".join(records_csv([{"user_id": name, "position": -1}])))
    assert (record["user_id"], record["position"]) == (f"'{name}", "-1")


def test_names_in_csv_come_back_as_they_were():
    name = 'a "quoted", name; with\r\na line, 日本'
    assert rows_of(lines_csv(sample(bot_names={"shop": name})))[0]["bot_name"] == name


def test_the_csv_of_records_is_written_row_by_row():
    given = (
        {"session_id": f"s{number}", "started_at": at(2026, 10, 1), "bot_ms": 60_000} for number in range(3)
    )
    chunks = list(records_csv(given))
    assert len(chunks) == 4
    assert [row["session_id"] for row in rows_of("".join(chunks))] == ["s0", "s1", "s2"]
    assert rows_of("".join(chunks))[0]["started_at"] == "2026-09-30T22:00:00.000Z"
    assert rows_of("".join(chunks))[0]["revision"] == ""


def test_the_csv_of_records_refuses_a_column_that_it_does_not_have():
    with pytest.raises(ValueError, match="surprise"):
        list(records_csv([{"surprise": 1}]))
