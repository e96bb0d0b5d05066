"""What the author of a driver, or of an application, tests with."""

try:
    import pytest
except ImportError:  # `app.testing()` serves any test runner
    pass
else:
    # The suite is imported, not collected: without this a failed assert in it would not show its values.
    pytest.register_assert_rewrite("celeriac.testing.conformance")
