"""Ids that follow from what they name, so that whoever runs the aggregator gives the same."""

from uuid import NAMESPACE_DNS, UUID, uuid5

from invoicing.model import Span

_NAMESPACE = uuid5(NAMESPACE_DNS, "invoicing.quarterhour")


def invoice_id(account_id: str, kind: str, during: Span, ordinal: int, voided: int) -> UUID:
    """The id of an account's invoice of this kind and period, after so many of them were made void."""
    return uuid5(_NAMESPACE, f"{kind}|{account_id}|{during.from_ms}|{during.to_ms}|{ordinal}|{voided}")
