from __future__ import annotations

from tests.store.conftest import new_url as new_url
from tests.store.conftest import postgres_store_url as postgres_store_url
from tests.store.conftest import postgres_url as postgres_url
from tests.store.conftest import sqlite_store as sqlite_store
from tests.store.conftest import sqlite_url as sqlite_url
from tests.store.conftest import store as store
from tests.store.conftest import url as url
