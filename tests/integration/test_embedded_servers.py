from __future__ import annotations
import psycopg, redis

async def test_all(nats_url, nats_monitor_url, database_url, empty_database_url, cache_url):
    import nats
    nc = await nats.connect(nats_url); js = nc.jetstream()
    print(await js.account_info()); await nc.close()
    with psycopg.connect(empty_database_url) as c: print(c.execute("select current_user, current_database(), (select rolsuper or rolbypassrls from pg_roles where rolname=current_user)").fetchone()); c.execute("create table x(i int)")
    redis.Redis.from_url(cache_url).ping()
