"""Making a draft final: its number, its document, its PDF; from then on it stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter

from invoicing.documents.pdf import render_pdf
from invoicing.model import Account, Document, Line, Seller
from invoicing.periods import zone_at
from invoicing.rating import total
from invoicing.store import accounts as people
from invoicing.store import invoices as books
from invoicing.store.connecting import Connection, fetch, fetch_value
from invoicing.zones import zone
from schemas.times import DAY_MS

DOCUMENTS = TypeAdapter(Document)


async def issue(
    connection: Connection,
    account: Account,
    draft: books.Draft,
    lines: Sequence[Line],
    as_of_ms: int,
    position: int,
) -> None:
    """Issue a draft whose lines are written. Raises `Held` where its document cannot be made.

    Its number is taken as late as can be: until the transaction ends nobody else gets one.
    """
    seller = await people.seller(connection, account.seller_id)
    names = await fetch(connection, "names", account.account_id)
    year = _year(as_of_ms, seller)
    in_year = await books.next_number(connection, seller.seller_id, year)
    document = Document(
        number=f"{seller.number_prefix}-{year}-{in_year:06d}",
        kind=draft.kind,  # type: ignore[arg-type]
        corrects=await fetch_value(connection, "number_of", draft.corrects),
        issued_ms=as_of_ms,
        due_ms=as_of_ms + seller.payment_days * DAY_MS,
        during=draft.during,
        time_zone=zone_at(account.zones, draft.during.from_ms),
        currency=account.currency,
        seller=seller.party,
        buyer=account.party,
        account_id=account.account_id,
        bot_names={row["id"]: row["name"] for row in names if row["what"] == "bot"},
        plan_names={row["id"]: row["name"] for row in names if row["what"] == "plan"},
        lines=tuple(lines),
        total_minor=total(lines),
    )
    pdf = render_pdf(document)
    await books.issue(
        connection,
        draft.invoice_id,
        document,
        number=(seller.seller_id, year, in_year),
        position=position,
        stored=DOCUMENTS.dump_python(document, mode="json"),
        pdf=pdf,
        pdf_sha256=hashlib.sha256(pdf).hexdigest(),
    )


def _year(at_ms: int, seller: Seller) -> int:
    return datetime.fromtimestamp(at_ms // 1000, zone(seller.time_zone)).year
