"""Django's settings: they are the process's own, and must stand before anything of ninja's is imported."""

from __future__ import annotations

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        ROOT_URLCONF="tests.frameworks.apps.django_views",
        SECRET_KEY="of a test",
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=4_000_000,
        LOGGING_CONFIG=None,
        USE_TZ=True,
    )
    django.setup()
DONE = True
