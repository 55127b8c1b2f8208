"""The comparison over seeds, in short; `python -m tests.seeds` is the long one."""

import pytest

from tests.seeds import compare_seed


@pytest.mark.parametrize("hostile", [False, True])
def test_the_filter_bills_like_the_reference(hostile: bool) -> None:
    comparison = compare_seed(3_000, 1, hostile=hostile)
    assert comparison.equal, comparison.report("sessionize", "reference")
