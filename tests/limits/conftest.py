from tests.postgres import postgres_store_url as postgres_store_url
from tests.postgres import postgres_url as postgres_url
from tests.redis import redis_key as redis_key
from tests.redis import redis_of_module as redis_of_module
from tests.redis import redis_server as redis_server
