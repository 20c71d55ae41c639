"""Which column of a table of clips means what: as the user says, else by usual names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marsbench.data.corpus_options import COLUMNS
from marsbench.errors import shown, suggestion

PATH, LABEL, SPEAKER, SPLIT = "path", "label", "speaker", "split"
START, END, DURATION = "start", "end", "duration"
_USUAL: Mapping[str, str] = {
    PATH: "file filename filepath filepaths pathname wav wavfile wavpath wavname audio audiofile audiopath "
    "audiofilepath audiofilename audioname clip clippath clipfile recording sound soundfile datei dateiname",
    LABEL: "labels emotion emotions emo class classname category emotionlabel emotionclass emotionname "
    "labelname targetemotion target klasse",
    SPEAKER: "speakers speakerid spk spkid speakername spkr spkrid actor actorid actorname subject subjectid "
    "participant participantid talker talkerid sprecher",
    SPLIT: "partition subset splitname splitset",
    START: "begin onset starttime begintime onsettime startsec startsecs startseconds starts starttimes "
    "segmentstart segstart segmentbegin clipstart utterancestart startat startms startmsec startmilliseconds",
    END: "stop offset endtime stoptime offsettime endsec endsecs endseconds ends endtimes segmentend segend "
    "clipend utteranceend endat stops endms endmsec endmilliseconds stopms offsetms",
    DURATION: "durationsec durationsecs durationseconds durations dur durationms",
}
"""Usual names of columns, in lower case without spaces and signs."""
_COUNTS = re.compile(r"(start|begin|onset|end|stop|offset)(samples?|frames?)")
"""Columns that count what has no length in seconds yet."""


@dataclass(frozen=True)
class Columns:
    """Positions of the columns of a table by role."""

    names: tuple[str, ...]
    at: Mapping[str, int]
    guessed: tuple[str, ...]
    """Roles whose columns are called otherwise and were not given by the user."""

    @property
    def told(self) -> str:
        """The guessed columns, as the option that gives them has them."""
        return ",".join(f"{role}={self.names[self.at[role]]}" for role in self.guessed)

    def milliseconds(self, role: str) -> bool:
        """Whether a column of times counts milliseconds."""
        return _plain(self.names[self.at[role]]).endswith(("ms", "msec", "milliseconds"))


def n_needed(names: Sequence[str], given: Mapping[str, str]) -> int:
    """How many of the columns that every table needs a header seems to have: 0, 1 or 2."""
    return sum(_is_waived(role, given) or bool(_candidates(role, names, given)) for role in (PATH, LABEL))


def _is_waived(role: str, given: Mapping[str, str]) -> bool:
    """Whether labels come from somewhere else than a column."""
    return role == LABEL and given.get(role) == ""


def find_columns(names: Sequence[str], given: Mapping[str, str]) -> Columns:
    """The columns of a header.

    Args:
        names: those of the header.
        given: names by role; an empty one means that no column has that role, not even the label.

    Raises:
        ValueError: a column is missing, twice there, or one of several may have a role; says what to do.
    """
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(f"the header has column '{shown(repeated[0])}' twice")
    found: dict[str, str] = {}
    for role in COLUMNS:
        if role == DURATION and not {START, END} & found.keys():
            continue
        candidates = _candidates(role, names, given)
        if len(candidates) > 1:
            either = " or ".join(f"'{shown(name)}'" for name in candidates)
            raise ValueError(f"the {role} may be column {either}; name it: --columns {role}={candidates[0]}")
        if candidates:
            found[role] = candidates[0]
        elif (role in (PATH, LABEL) and not _is_waived(role, given)) or given.get(role):
            raise ValueError(_missing(role, names, given))
    _settle_segments(names, found, given)
    guessed = tuple(role for role, name in found.items() if name != role and not given.get(role))
    return Columns(tuple(names), {role: names.index(name) for role, name in found.items()}, guessed)


def _candidates(role: str, names: Sequence[str], given: Mapping[str, str]) -> list[str]:
    if role in given:
        return [name for name in names if name and name == given[role]]
    if role in names and role not in given.values():
        return [role]
    usual = {role, *_USUAL[role].split()}
    return [name for name in names if name not in given.values() and _plain(name) in usual]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _missing(role: str, names: Sequence[str], given: Mapping[str, str]) -> str:
    asked = given.get(role)
    found = [shown(name) for name in names if name and (asked or name not in given.values())]
    if not asked and role in given.values():
        other = next(key for key, name in given.items() if name == role)
        return (
            f"column '{role}' is given as the {other}; name the one of the {role}: --columns {role}=NAME. "
            f"Left: {', '.join(found) or 'none'}"
        )
    what = f"no column '{shown(asked)}'" if asked else f"no column '{role}'"
    how = "" if asked else f" Name the right one: --columns {role}=NAME"
    return f"the header has {what}. {suggestion(asked or role, found)}{how}"


def _settle_segments(names: Sequence[str], found: dict[str, str], given: Mapping[str, str]) -> None:
    """Leave only what makes segments whole: a start with an end or, without one, a duration.

    Of a table with durations alone `offset` is where a segment starts; a duration beside an end, or without a
    start, is an attribute.
    """
    if START not in found and DURATION in found and END in found and _plain(found[END]) == "offset":
        found[START] = found.pop(END)
    if END in found or START not in found:
        found.pop(DURATION, None)
    counted = next((name for name in names if _COUNTS.fullmatch(_plain(name))), None)
    is_whole = DURATION in found or (START in found) == (END in found)
    if counted and START not in given:
        raise ValueError(
            f"column '{shown(counted)}' counts samples or frames; give times in seconds, or use whole files: "
            "--columns start=,end="
        )
    if not is_whole:
        alone = found.get(START) or found[END]
        raise ValueError(
            f"column '{shown(alone)}' names a part of a file, but only one of its two ends is there; name "
            "both, --columns start=NAME,end=NAME, or none, --columns start=,end="
        )
