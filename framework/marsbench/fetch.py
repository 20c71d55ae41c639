"""Download published archives and unpack them, trusting neither the network nor the archive."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Archive:
    """One published zip file."""

    url: str
    size: int
    """Bytes."""
    md5: str
    folder: str
    """Where its contents go below the target."""

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]
