"""What can be wrong, each with a stable code; an invoice that meets one is held with it.

The command line turns them into one line and an exit status; the run writes code and detail to the draft and
goes on with the next account. Nothing else catches them.
"""


class InvoicingError(Exception):
    """Nothing was changed. `code` is stable; the text names what is wrong and what to do."""

    code = "failed"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


class WrongCatalogue(InvoicingError):
    """A catalogue file cannot be applied; the text names plan and field."""

    code = "wrong_catalogue"


class Unknown(InvoicingError):
    """There is no such account, bot, plan, subscription or invoice."""

    code = "unknown"


class NotAllowed(InvoicingError):
    """What was asked for is not possible in this state; the text says which one, and what is."""

    code = "not_allowed"


class Conflict(InvoicingError):
    """It contradicts what is there: another plan at that time, the same reference with another amount."""

    code = "conflict"


class Held(InvoicingError):
    """An invoice cannot become final; `code` is the reason that `invoices list --held` shows."""

    code = "held"


class StoreUnreachable(InvoicingError):
    """PostgreSQL does not answer: try again when it does."""

    code = "store_unreachable"
