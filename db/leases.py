"""One holder at a time for a named job; judged by the database's clock only."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from db.session import UnitOfWork

_TAKE = text("""
    INSERT INTO leases AS held (name, holder, token, expires_at)
    VALUES (:name, :holder, 1, now() + make_interval(secs => :seconds))
    ON CONFLICT (name) DO UPDATE SET
        holder = excluded.holder,
        expires_at = excluded.expires_at,
        token = held.token + CASE WHEN held.holder = excluded.holder THEN 0 ELSE 1 END
    WHERE held.holder = excluded.holder OR held.expires_at < now()
    RETURNING token
""")
# The row stays: its token must never come round again.
_RELEASE = text("""
    UPDATE leases SET expires_at = '-infinity' WHERE name = :name AND holder = :holder
""")


async def take(work: UnitOfWork, name: str, *, holder: UUID, seconds: float) -> int | None:
    """Take or renew a lease; its fencing token, or None while somebody else holds it."""
    async with work.transaction() as tx:
        row = await tx.session.execute(_TAKE, {"name": name, "holder": holder, "seconds": seconds})
        token: int | None = row.scalar_one_or_none()
        return token


async def release(work: UnitOfWork, name: str, *, holder: UUID) -> None:
    """Give the lease back, so that the next holder need not wait for its end."""
    async with work.transaction() as tx:
        await tx.session.execute(_RELEASE, {"name": name, "holder": holder})
