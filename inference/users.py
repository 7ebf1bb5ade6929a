"""Users as people name them on the command line."""

import pyarrow as pa

from aigq.settings import UserError


def known_users(con, users: str) -> list[str]:
    """The distinct ids of ``--users ID,ID...``.

    Raises :class:`UserError` for none, and naming those that the shop does not know.
    """
    asked = list(dict.fromkeys(u.strip() for u in users.split(",") if u.strip()))
    if not asked:
        raise UserError("--users: expected user ids separated by commas, got none")
    con.register("asked", pa.table({"user_id": asked}))
    unknown = con.execute(
        "SELECT user_id FROM asked ANTI JOIN lake.features.user_profile USING (user_id)"
    ).fetchall()
    if unknown:
        names = ", ".join(repr(user) for (user,) in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(f"--users: the shop knows no user {names}{more}")
    return asked
