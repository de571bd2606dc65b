import pytest

pytest.register_assert_rewrite("sandpiper.testing.conformance")
