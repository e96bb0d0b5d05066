"""All of Celery's bytes: task messages, result metas, and the codecs that both are written with."""
