"""`python -m tests.simulation.hunt FIRST END`: the first seed that fails, as JSON, or null."""

import json
import sys
from pathlib import Path

import streams
from tests.simulation.campaign import first_failure

if __name__ == "__main__":
    # A bug that is planted in a copy is not found in the original.
    assert streams.__file__ and Path(streams.__file__).is_relative_to(Path.cwd())
    found = first_failure(range(int(sys.argv[1]), int(sys.argv[2])))
    print(json.dumps(found and {"seed": found.seed, "violation": found.violation}))
