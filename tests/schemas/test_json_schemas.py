"""The committed JSON Schemas are current, and say what the decoder does."""

import json
import re
from typing import Any

import pytest

from schemas.events import MODELS, fields_of, type_of
from schemas.generate import FOLDER, schema_files
from tests.schemas.examples import GOOD, NOT_TIMES, document

kinds = pytest.mark.parametrize("kind", [type_of(model) for model in MODELS])


def schema(kind: str) -> Any:
    return json.loads((FOLDER / f"{kind}.schema.json").read_text(encoding="utf-8"))


def properties(kind: str) -> dict[str, Any]:
    """The schema's fields, dotted."""
    outer = schema(kind)
    (data,) = outer["$defs"].values()
    return outer["properties"] | {f"data.{name}": found for name, found in data["properties"].items()}


def test_the_files_are_those_that_the_models_give() -> None:
    """If this fails: python -m schemas.generate, and read the difference as a producer would."""
    assert {path: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == schema_files()


@pytest.mark.parametrize("model", MODELS, ids=type_of)
def test_a_schema_has_the_fields_of_its_type(model: type) -> None:
    kind = type_of(model)
    assert set(properties(kind)) == set(fields_of(model))
    assert schema(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert properties(kind)["type"]["const"] == kind
    assert properties(kind)["specversion"]["const"] == "1.0"


@kinds
def test_all_but_developer_and_a_reason_is_required(kind: str) -> None:
    outer = schema(kind)
    (data,) = outer["$defs"].values()
    assert set(outer["required"]) == set(outer["properties"])
    assert set(data["properties"]) - set(data["required"]) == {"developer"} | (
        {"reason"} if kind == "conversation.closed.v1" else set()
    )


@kinds
def test_extra_fields_are_allowed(kind: str) -> None:
    (data,) = schema(kind)["$defs"].values()
    assert schema(kind).get("additionalProperties", True) is True
    assert data.get("additionalProperties", True) is True


@kinds
def test_ids_and_the_channel_have_their_lengths_and_characters(kind: str) -> None:
    ids = {
        name: found
        for name, found in properties(kind).items()
        if name.endswith("_id") or name in ("id", "source", "data.channel")
    }
    assert len(ids) >= 7
    for found in ids.values():
        assert (found["type"], found["minLength"], found["maxLength"]) == ("string", 1, 200)
        assert re.search(found["pattern"], "a b\u00a0\u200d\U0001f600")
        for character in "|\0\n\x1f\x7f\x80\x9f":
            assert not re.search(found["pattern"], f"a{character}b")


@kinds
def test_developer_is_a_boolean_that_is_false_by_default(kind: str) -> None:
    found = properties(kind)["data.developer"]
    assert (found["type"], found["default"]) == ("boolean", False)


def test_authors_are_listed_and_a_reason_has_its_length() -> None:
    assert properties("conversation.message.v1")["data.author"]["enum"] == ["user", "bot", "agent"]
    assert properties("conversation.closed.v1")["data.reason"]["maxLength"] == 200


@kinds
def test_the_time_has_its_format_and_pattern(kind: str) -> None:
    found = properties(kind)["time"]
    assert found["format"] == "date-time"
    for example in GOOD:
        assert re.search(found["pattern"], json.loads(example.value)["time"]), example.name


def test_the_pattern_of_the_time_refuses_all_but_what_needs_a_calendar() -> None:
    pattern = properties("conversation.message.v1")["time"]["pattern"]
    passed = {name for name, text in NOT_TIMES.items() if re.fullmatch(pattern, text)}
    assert passed == {
        "the 31st of September",
        "the 29th of February of a common year",
        "the 29th of February of 2100",
        "the year 0000",
        "before the year 0001 in UTC",
        "after the year 9999 in UTC",
    }


@kinds
def test_the_example_of_each_type_has_what_its_schema_requires(kind: str) -> None:
    (data,) = schema(kind)["$defs"].values()
    assert set(document(kind)) == set(schema(kind)["required"])
    assert set(document(kind)["data"]) == set(data["required"])
