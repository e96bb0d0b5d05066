"""Oddities of Celery that its users know: old module paths, old names, small tools."""
