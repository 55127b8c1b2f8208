"""The catalogue: who sells, and the plans by version, from a TOML file; `plans.toml` is the one shipped.

Every mistake in it is a `WrongCatalogue` that names plan and field and says what is allowed; all are told at
once. A plan version is never changed: `fingerprint` tells whether two are the same, and is what is stored.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from invoicing.errors import InvoicingError, WrongCatalogue
from invoicing.model import Party, Seller, SessionKind, Terms, Tier, Unit
from invoicing.money import minor_digits, price_minor
from invoicing.zones import zone

MOST: Final = 10**12
"""Of anything that is counted or priced here."""
FINER_DIGITS: Final = 6
"""How many decimals the price of a session may have beyond those of its currency."""
_PLAIN_DECIMAL: Final = re.compile(r"[0-9]{1,13}(\.[0-9]{1,12})?")
_Model = TypeVar("_Model", bound=BaseModel)
_Key = TypeVar("_Key", bound=Hashable)


def _must(check: Callable[..., object], *given: object) -> None:
    """Let pydantic collect what is an error of ours."""
    try:
        check(*given)
    except InvoicingError as error:
        raise ValueError(str(error)) from error


def _decimal(given: object) -> Decimal:
    if not isinstance(given, str) or not _PLAIN_DECIMAL.fullmatch(given) or Decimal(given) > MOST:
        raise ValueError(
            f'{given!r}: a decimal number in quotes is allowed, from "0" to "{MOST}", such as "49.00"'
        )
    return Decimal(given)


def _decimal_text(price: Decimal) -> str:
    return f"{price.normalize():f}"


def _text(given: str) -> str:
    if not given.isprintable() or given != given.strip():
        raise ValueError("printable characters in one line, and none but spaces between them, are allowed")
    return given


def _known_zone(given: str) -> str:
    _must(zone, given)
    return given


def _known_currency(given: str) -> str:
    _must(minor_digits, given)
    return given


Price = Annotated[Decimal, BeforeValidator(_decimal), PlainSerializer(_decimal_text)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_text)]
Id = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
Number = Annotated[int, Field(ge=0, le=MOST)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _has_known_fields_only(cls, given: object) -> object:
        unknown = sorted(given.keys() - cls.model_fields.keys()) if isinstance(given, dict) else []
        if unknown:
            allowed = ", ".join(cls.model_fields)
            raise ValueError(f"unknown field {', '.join(map(repr, unknown))}: allowed are {allowed}")
        return given


class _Seller(_Table):
    seller_id: Id
    name: Text
    address: tuple[Text, ...] = Field(strict=False, min_length=1, max_length=6)
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    tax_id: Text
    time_zone: Annotated[str, AfterValidator(_known_zone)]
    number_prefix: Annotated[str, Field(pattern="^[A-Z0-9][A-Z0-9/-]{0,15}$")]
    payment_days: Annotated[int, Field(ge=0, le=365)]

    @property
    def seller(self) -> Seller:
        party = Party(self.name, self.address, self.country, self.tax_id)
        return Seller(self.seller_id, party, self.time_zone, self.number_prefix, self.payment_days)


class Included(_Table):
    """Sessions of each kind that the price of a period includes."""

    usage: Number
    alert: Number


class TierTable(_Table):
    """Sessions beyond the allowance up to this many of them in all, each at this price."""

    up_to: Annotated[int, Field(ge=1, le=MOST)] | None = None
    price: Price


class Tiers(_Table):
    """Graduated prices of the sessions beyond the allowance, by kind."""

    usage: tuple[TierTable, ...] = Field(strict=False, min_length=1)
    alert: tuple[TierTable, ...] = Field(strict=False, min_length=1)

    @field_validator("usage", "alert")
    @classmethod
    def _grows_to_no_end(cls, tiers: tuple[TierTable, ...]) -> tuple[TierTable, ...]:
        ends = [tier.up_to for tier in tiers[:-1] if tier.up_to is not None]
        if tiers[-1].up_to is not None:
            raise ValueError("the last tier must have no up_to: sessions beyond it would have no price")
        if len(ends) < len(tiers) - 1:
            raise ValueError("only the last tier may be without up_to")
        if any(end <= before for before, end in pairwise(ends)):
            raise ValueError("each tier's up_to must be more than that of the tier before")
        return tiers


class Offering(_Table):
    """A row that a customer compares."""

    name: Text
    value: Text


class Plan(_Table):
    """A plan version: what is offered, and at what price."""

    # Checks look at the fields above them.
    id: Id
    version: Annotated[int, Field(ge=1, le=10**6)]
    name: Text
    kind: Literal["free", "paid", "contract"]
    currency: Annotated[str, AfterValidator(_known_currency)]
    unit: Unit
    price: Price | None = Field(default=None, validate_default=True)
    included: Included
    may_go_beyond: bool
    tiers: Tiers | None = Field(default=None, validate_default=True)
    trial_days: Annotated[int, Field(ge=0, le=365)] = 0
    after_trial: Literal["active", "expired"] | None = Field(default=None, validate_default=True)
    offerings: tuple[Offering, ...] = Field(strict=False, min_length=1)

    @property
    def terms(self) -> Terms:
        """What it says of money."""
        return Terms(
            plan_id=self.id,
            version=self.version,
            currency=self.currency,
            unit=self.unit,
            price_minor=0 if self.price is None else price_minor(self.price, self.currency),
            included={kind: getattr(self.included, kind) for kind in SessionKind},
            tiers={kind: _tiers(getattr(self.tiers, kind)) for kind in SessionKind} if self.tiers else {},
        )

    @field_validator("price")
    @classmethod
    def _is_a_price_of_its_kind(cls, price: Decimal | None, info: ValidationInfo) -> Decimal | None:
        kind, currency = info.data.get("kind"), info.data.get("currency")
        if kind == "paid" and price is None:
            raise ValueError('a paid plan needs one, such as "49.00"')
        if kind in ("free", "contract") and price is not None:
            raise ValueError(f"a {kind} plan has none: kind must be paid, or there must be no price")
        if price is not None and currency:
            _must(price_minor, price, currency)
        return price

    @field_validator("may_go_beyond")
    @classmethod
    def _goes_beyond_only_if_paid(cls, may: bool, info: ValidationInfo) -> bool:
        if may and info.data.get("kind") in ("free", "contract"):
            raise ValueError("only bots of a paid plan may go beyond its allowance: it must be false")
        return may

    @field_validator("tiers")
    @classmethod
    def _sells_what_goes_beyond(cls, tiers: Tiers | None, info: ValidationInfo) -> Tiers | None:
        if info.data.get("may_go_beyond") is True and tiers is None:
            raise ValueError("needed for usage and alert, for bots may go beyond the allowance")
        if info.data.get("may_go_beyond") is False and tiers is not None:
            raise ValueError("there must be none, for bots may not go beyond the allowance")
        if tiers is not None and (currency := info.data.get("currency")):
            _are_not_too_fine(tiers, currency)
        return tiers

    @field_validator("trial_days")
    @classmethod
    def _is_a_trial_of_a_paid_plan(cls, days: int, info: ValidationInfo) -> int:
        if days and info.data.get("kind") in ("free", "contract"):
            raise ValueError("only a paid plan has a trial: it must be 0")
        return days

    @field_validator("after_trial")
    @classmethod
    def _follows_a_trial(cls, follows: str | None, info: ValidationInfo) -> str | None:
        days = info.data.get("trial_days")
        if days and follows is None:
            raise ValueError("needed after a trial: active or expired")
        if days == 0 and follows is not None:
            raise ValueError("there must be none without a trial")
        return follows

    @field_validator("offerings")
    @classmethod
    def _names_each_once(cls, offerings: tuple[Offering, ...]) -> tuple[Offering, ...]:
        if twice := _twice(offering.name for offering in offerings):
            raise ValueError(f"{twice[0]!r} is there twice: each name is allowed once")
        return offerings


class _File(_Table):
    seller: _Seller
    plan: tuple[Plan, ...] = Field(strict=False, min_length=1)

    @field_validator("plan")
    @classmethod
    def _are_comparable(cls, plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
        if twice := _twice((plan.id, plan.version) for plan in plans):
            raise ValueError("{!r} version {} is there twice: each version is allowed once".format(*twice[0]))
        first = [offering.name for offering in plans[0].offerings]
        for plan in plans:
            if [offering.name for offering in plan.offerings] != first:
                raise ValueError(
                    f"{plan.id!r} version {plan.version}: offerings: every plan must have those of the first "
                    f"one, in their order: {', '.join(first)}"
                )
        return plans


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a catalogue file says."""

    seller: Seller
    plans: tuple[Plan, ...]


def read_catalogue(text: str) -> Catalogue:
    """Read a catalogue file. Raises `WrongCatalogue` with all mistakes found."""
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongCatalogue(f"the catalogue is no TOML: {error}") from error
    file = _validated(_File, given)
    return Catalogue(file.seller.seller, file.plan)


def shipped() -> str:
    """Give the text of the catalogue that is shipped."""
    return (files("invoicing") / "plans.toml").read_text(encoding="utf-8")


def fingerprint(plan: Plan) -> str:
    """Give a plan as JSON: the same text for the same content, however it was written."""
    return json.dumps(plan.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def plan_of(stored: str | Mapping[str, Any]) -> Plan:
    """Read a plan back from its fingerprint."""
    return _validated(Plan, json.loads(stored) if isinstance(stored, str) else dict(stored))


def is_upgrade(before: Terms, to: Terms) -> bool:
    """Tell whether the second costs more by the second, of two in the same currency; a month is 1/12 year."""
    return _price_per_month(to) > _price_per_month(before)


def _price_per_month(terms: Terms) -> Fraction:
    return Fraction(terms.price_minor, 12 if terms.unit == "year" else 1)


def _tiers(tables: tuple[TierTable, ...]) -> tuple[Tier, ...]:
    return tuple(Tier(table.up_to, table.price) for table in tables)


def _are_not_too_fine(tiers: Tiers, currency: str) -> None:
    finest = minor_digits(currency) + FINER_DIGITS
    for tier in (*tiers.usage, *tiers.alert):
        if tier.price != round(tier.price, finest):
            raise ValueError(f"{tier.price} is too fine: {finest} decimals are allowed in {currency}")


def _twice(keys: Iterable[_Key]) -> list[_Key]:
    return [key for key, times in Counter(keys).items() if times > 1]


def _validated(model: type[_Model], given: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        mistakes = "; ".join(_mistake(found, given) for found in error.errors(include_url=False))
        raise WrongCatalogue(mistakes) from error


def _mistake(found: ErrorDetails, given: Mapping[str, Any]) -> str:
    """Say where it is, counting from 1, and what is wrong there."""
    where = list(found["loc"])
    path = [_named_plan(where, given)] if where[:1] == ["plan"] and len(where) > 1 else []
    fields = where[2:] if path else where
    if fields:
        path.append(".".join(str(part + 1) if isinstance(part, int) else part for part in fields))
    return ": ".join([*path, found["msg"].removeprefix("Value error, ")])


def _named_plan(where: list[int | str], given: Mapping[str, Any]) -> str:
    plan = given["plan"][where[1]]
    if not isinstance(plan, dict) or not isinstance(plan.get("id"), str):
        return f"plan number {int(where[1]) + 1}"
    return f"plan {plan['id']!r} version {plan.get('version')!r}"
