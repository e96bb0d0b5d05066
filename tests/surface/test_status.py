"""docs/celery-surface-status.md says what the tests show."""

from __future__ import annotations

from surface.status import DOCUMENT, document, mistakes


def test_what_is_said_of_celerys_surface_is_shown_by_tests() -> None:
    assert not list(mistakes())


def test_the_document_is_what_the_table_and_the_tests_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run scripts/surface-status"
