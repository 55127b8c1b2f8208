"""Rule sets from a TOML file, for `quarterhour sessionize`: the form people write, made into a RuleBook.

    [[rule_sets]]
    effective_from = "2026-10-01T00:00:00Z"   # RFC 3339; without it since ever
    account_id = "acme"                       # with bot_id: for this bot only
    bot_id = "sales"
    block = "15min"
    idle_timeout = "2h"
    handoff_timeout = "24h"

What a rule set leaves out has its default. No billing rule here.
"""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

from quarterhour.durations import parse_duration_ms
from quarterhour.errors import WrongInput
from schemas.decode import Rejected, parse_time_ms
from sessionizer.rules import DEFAULT_RULES, InvalidRules, RuleBook, RuleSet

DURATIONS = ("block", "idle_timeout", "handoff_timeout")
SCOPE = ("account_id", "bot_id")
KEYS = ("effective_from", *SCOPE, *DURATIONS)


def read_rules(path: Path) -> RuleBook:
    """Read a rule book; raises WrongInput that names the rule set and key at fault."""
    try:
        content = tomllib.loads(path.read_text())
        rows = content.pop("rule_sets", [])
        if content or not isinstance(rows, list):
            raise ValueError(f"it may hold [[rule_sets]] only, not {', '.join(content) or 'one rule_sets'}")
        return RuleBook([_rule_set(number, row) for number, row in enumerate(rows, 1)])
    except (OSError, ValueError, InvalidRules) as error:
        raise WrongInput(f"the rules in {path} cannot be used: {error}") from None


def _rule_set(number: int, row: Any) -> RuleSet:
    try:
        if not isinstance(row, dict):
            raise ValueError(f"it is {row!r}, not a table")
        unknown = sorted(set(row) - set(KEYS))
        if unknown:
            raise ValueError(f"no such key: {', '.join(unknown)}; there are {', '.join(KEYS)}")
        given: dict[str, Any] = {name: _text(name, row[name]) for name in SCOPE if name in row}
        given |= {f"{name}_ms": _duration_ms(name, row[name]) for name in DURATIONS if name in row}
        return RuleSet(_effective_ms(row), **given)
    except ValueError as error:
        raise ValueError(f"rule set {number}: {error}") from None


def _effective_ms(row: dict[str, Any]) -> int:
    if "effective_from" not in row:
        return DEFAULT_RULES.effective_ms
    value = row["effective_from"]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    try:
        return parse_time_ms(text)
    except Rejected:
        raise ValueError(f"effective_from is {text!r}, not a time such as 2026-10-01T00:00:00Z") from None


def _duration_ms(name: str, value: object) -> int:
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}: {error}") from None


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, not a text")
    return value
