"""Hash JSON values; derive seeds and folder names."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """Hexadecimal sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_with_rows(
    before: Sequence[Any],
    rows: Iterable[Any],
    behind: Sequence[Any] = (),
    as_json: Callable[[Any], str] = canonical_json,
) -> str:
    """`digest` of the list `[*before, [*rows], *behind]`, whose text never is in memory as a whole.

    That of the rows of thousands of folds would be billions of numbers. `as_json` gives a row's JSON.
    """
    found = hashlib.sha256(canonical_json([*before, []])[:-2].encode())
    for number, row in enumerate(rows):
        found.update(f"{',' if number else ''}{as_json(row)}".encode())
    found.update("".join(["]", *("," + canonical_json(one) for one in behind), "]"]).encode())
    return found.hexdigest()


def derived_seed(seed: int, *labels: str | int) -> int:
    """Seed in [0, 2**31) that depends only on `seed` and the labels, which say what it is used for."""
    return int(digest([seed, *labels])[:8], 16) & 0x7FFF_FFFF


def is_jsonable(value: Mapping[str, Any]) -> bool:
    """Whether `value` is unchanged by a round trip through JSON."""
    try:
        return bool(json.loads(canonical_json(value)) == value)
    except (TypeError, ValueError):
        return False


def slug(text: str, otherwise: str = "corpus") -> str:
    """`text` as a folder name of a-z, 0-9, '-' and '_'; `otherwise` if no such character is left."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or otherwise
