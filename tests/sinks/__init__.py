import pytest

pytest.register_assert_rewrite("tests.sinks.contract", "tests.sinks.inspecting")
