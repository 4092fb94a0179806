"""The bound of every untrusted size, with its unit. A policy may tighten these; it cannot lift them."""

from __future__ import annotations

from typing import Final

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Largest request body that a route may be configured to read, in bytes."""
DEFAULT_BODY_BYTES: Final = 64 * 1024
"""Largest request body of a route that sets no bound, in bytes."""
MAX_JSON_DEPTH: Final = 32
"""Deepest nesting of a JSON body."""
MAX_JSON_NODES: Final = 10_000
"""Most values in a JSON body."""
MAX_INTEGER_DIGITS: Final = 64
"""Most digits of a number in a JSON body."""
MAX_FORM_FIELDS: Final = 1_000
"""Most fields in a form, and most parameters in a query."""
MAX_FORM_FILES: Final = 64
"""Most files in a form that a route may be configured to take."""
MAX_FIELD_NAME_CHARS: Final = 256
"""Longest name of a form's field, in characters."""
MAX_PART_HEADER_BYTES: Final = 2_048
"""Most bytes of header fields of one part of a form."""
MAX_QUERY_BYTES: Final = 16_384
"""Longest query that is read, in bytes."""
MAX_CONTRIBUTIONS: Final = 100
"""Most contributions in one request."""
MAX_TEXT_CHARS: Final = 32_768
"""Longest text in a contribution, in code points, before and after canonical form."""
MAX_LABEL_CHARS: Final = 256
"""Longest label, in code points."""
MAX_ID_CHARS: Final = 256
"""Longest identifier (contribution, contributor, group, interaction, model), in code points."""
MAX_GROUPS: Final = 8
"""Most groups that a contributor belongs to."""
MAX_TOKEN_BYTES: Final = 16_384
"""Longest token that names a contributor, in bytes."""
MAX_JWKS_BYTES: Final = 256 * 1024
"""Largest key set of an issuer, in bytes."""
MAX_JWKS_KEYS: Final = 100
"""Most keys in it."""
MAX_METADATA_BYTES: Final = 16_384
"""Largest metadata object, in bytes of JSON."""
MAX_MARK_RUN: Final = 30
"""Longest run of combining marks before canonical form (UAX #15, Stream-Safe Text Format)."""
MAX_WINDOWS: Final = 256
"""Most model windows that one text may be cut into."""
MAX_POLICY_BYTES: Final = 256 * 1024
"""Largest policy file, in bytes."""
MAX_POLICY_DEPTH: Final = 24
"""Deepest nesting of a policy file."""
MAX_EXPRESSION_CHARS: Final = 2_048
"""Longest extraction expression, in characters."""
MAX_PATHS: Final = 16
"""Most paths of one route."""
MAX_TRUSTED: Final = 200_000
"""Most contributions in a trusted set."""
MAX_REVIEW_PAGE: Final = 200
"""Most held items on one page of the review application."""
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""Longest line of a JSONL file that `replay` and `baseline build` read, in bytes."""
MAX_FILE_BYTES: Final = 64 * 1024**3
"""Largest JSONL file that is read, in bytes after decompression."""
MAX_BASELINE_BYTES: Final = 4 * 1024**3
"""Largest file of a baseline that is read, in bytes."""
MAX_HEAD_BYTES: Final = 32 * 1024
"""Largest head of a request that the gateway reads, in bytes."""
MAX_TARGET_BYTES: Final = 8 * 1024
"""Longest request target (path and query) that the gateway reads, in bytes."""
MAX_HEADERS: Final = 100
"""Most header fields of a request that the gateway reads."""
MAX_CHUNK_OVERHEAD_BYTES: Final = 16 * 1024
"""Most bytes of chunk extensions and trailers in one request to the gateway."""
MAX_ANSWER_HEAD_BYTES: Final = 64 * 1024
"""Largest head of an upstream's answer that the gateway reads, in bytes."""
MAX_CONNECTIONS: Final = 4_096
"""Most open connections of one worker of the gateway."""
MAX_UPSTREAM_CONNECTIONS: Final = 512
"""Most connections of one worker of the gateway to its upstream."""
MAX_ANSWER_BYTES: Final = 256 * 1024
"""Largest body that an answer's template may make, in bytes of JSON."""
MAX_ANSWER_HEADERS: Final = 16
"""Most header fields in an answer's template."""
MAX_ANSWER_HEADER_CHARS: Final = 1_024
"""Longest value of a header field in an answer's template, in characters."""
MAX_IDEMPOTENCY_KEY_CHARS: Final = 255
"""Longest `Idempotency-Key`, in characters without its quotes."""
MAX_KEPT_ANSWER_BYTES: Final = 1024 * 1024
"""Largest answer that may be kept for repetitions, in bytes of its body."""
MAX_KEPT_HEADER_BYTES: Final = 8 * 1024
"""Most bytes of header fields of an answer that is kept."""
MAX_RETAIN_US: Final = 30 * 86_400 * 1_000_000
"""Longest time that an `Idempotency-Key` is remembered, in microseconds."""
MAX_WINDOW_US: Final = 3_600 * 1_000_000
"""Longest window in which the same body is taken for a repetition, in microseconds."""
MAX_REPEAT_WAIT_US: Final = 60 * 1_000_000
"""Longest time that a repetition waits for the first one's answer, in microseconds."""
MAX_REPEATS_WAITING: Final = 1_024
"""Most repetitions that wait in one process; further ones are told at once to come back."""
MAX_UNIFORM_FLOOR_US: Final = 30 * 1_000_000
"""Longest time that a uniform answer may be put off, in microseconds."""
MAX_RECEIPT_CHARS: Final = 4_096
"""Longest receipt, in characters."""
MAX_RECEIPT_LIFETIME_US: Final = 366 * 86_400 * 1_000_000
"""Longest time that a receipt may be good for, in microseconds."""
MAX_SERVED_BYTES: Final = 4 * 1024 * 1024
"""Largest answer that a serving route may be configured to wait for, in bytes."""
MAX_EVENT_BYTES: Final = 256 * 1024
"""Longest event of a streamed answer that is read for its receipt, in bytes."""
