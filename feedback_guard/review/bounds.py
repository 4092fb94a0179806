"""The bounds of what a moderator's browser or program may send."""

from __future__ import annotations

from typing import Final

MAX_BODY_BYTES: Final = 64 * 1024
"""Largest body of a form or of a JSON request, in bytes."""
BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive, in seconds."""
MAX_FORM_FIELDS: Final = 16
"""Most fields of a form."""
MAX_NOTE_CHARS: Final = 2_000
"""Longest note of a decision, in code points."""
MAX_ID_CHARS: Final = 64
"""Longest identifier of an item in a path, in characters."""
PAGE: Final = 50
"""Items on a page of a list."""
RECENT: Final = 2_000
"""How many of the latest contributions are looked through for others of the same contributor."""
STEPS: Final = 50
"""How many of the latest steps of a request are shown."""
WINDOW: Final = 200_000
"""How many of the latest ledger entries are looked through for a page of decisions."""
MAX_CAMPAIGN_CHARS: Final = 128
"""Longest identifier of a campaign in a path, in characters."""
EXAMPLES: Final = 3
"""Members of a campaign that are shown as examples of it."""
WAIT_SECONDS: Final = 2.0
"""How long a decision on a campaign is carried out before its moderator is answered, in seconds."""
MAX_PAGES: Final = 10_000
"""Last page of the list of campaigns that can be asked for."""
