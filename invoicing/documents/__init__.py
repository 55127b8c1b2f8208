"""Documents for people and for spreadsheets: the PDF of an invoice, and CSV of its lines and records."""

from invoicing.documents.fonts import not_shown
from invoicing.documents.pdf import render_pdf
from invoicing.documents.tables import lines_csv, records_csv

__all__ = ["lines_csv", "not_shown", "records_csv", "render_pdf"]
