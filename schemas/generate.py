"""JSON Schema (2020-12) of each event type, in and out, from the models.

`python -m schemas.generate` writes it.

The files under schemas/json/ are for producers in other languages; a test checks that they are current. They
state all that JSON Schema can; README.md lists the rest of the contract.
"""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from schemas.events import MODELS, type_of
from schemas.rejected import RejectedEvent

FOLDER: Final = Path(__file__).parent / "json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type) -> dict[str, Any]:
    """Return the JSON Schema of one event type."""
    return {"$schema": DIALECT, **TypeAdapter(model).json_schema()}


def schema_files() -> dict[Path, str]:
    """Return every file of the folder with the text it ought to hold."""
    return {
        FOLDER / f"{type_of(model)}.schema.json": json.dumps(schema_of(model), indent=2) + "\n"
        for model in (*MODELS, RejectedEvent)
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in schema_files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
