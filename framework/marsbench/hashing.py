"""Digests that name what they were made of, and seeds and folder names derived from text."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Hexadecimal sha256 of a JSON-able value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derived_seed(seed: int, *words: str | int) -> int:
    """Seed in [0, 2**31) that depends on `seed` and every word, and on nothing else."""
    return int(digest([seed, *words])[:8], 16) & 0x7FFF_FFFF


def is_jsonable(value: Mapping[str, Any]) -> bool:
    """Whether `value` survives a round trip through JSON unchanged."""
    try:
        return bool(json.loads(canonical_json(value)) == value)
    except (TypeError, ValueError):
        return False


def slug(text: str, otherwise: str = "corpus") -> str:
    """`text` as a name for a folder: a-z, 0-9, '-' and '_'; `otherwise` if nothing of it is left."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_") or otherwise
