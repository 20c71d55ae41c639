"""What the levels of folders above audio files mean: class, speaker, split, or nothing."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from marsbench.data.labels import EMOTION_WORDS, split_of, standard_name
from marsbench.errors import ConfigError, CorpusError

Folders = tuple[str, ...]
"""Names of the folders between the root and one audio file, outermost first."""

CLASS, SPEAKER, SPLIT, UNUSED = "class", "speaker", "split", "*"
_SPEAKER = re.compile(
    r"(actor|actress|speaker|spk|subject|subj|sub|participant|patient|person|talker|voice|user)"
    r"[ _.-]?[a-z]?\d+",
    re.IGNORECASE,
)
_CODE = re.compile(r"[a-z]{0,3}[ _.-]?\d+[a-z]?", re.IGNORECASE)
_SHOWN = 4


def is_emotion(name: str) -> bool:
    """Whether a folder's name contains an emotion, such as `01_Angry`."""
    return bool(_emotions(name))


def _emotions(name: str) -> frozenset[str]:
    """The words for emotions in a folder's name."""
    return EMOTION_WORDS.intersection(re.findall(r"[^\W\d_]+", name.casefold()))


def parse_layout(text: str) -> Folders:
    """The meanings in a text such as `speaker/class`; raises ConfigError unless one of them is the class."""
    meanings = tuple(part.strip() for part in text.split("/"))
    named = [meaning for meaning in meanings if meaning != UNUSED]
    if named.count(CLASS) != 1 or len(set(named)) < len(named) or not all(named):
        raise ConfigError(
            f"folder: layout='{text}'; name each level of folders once, outermost first, one of them "
            f"'{CLASS}', such as 'class', 'split/class' or 'speaker/class'; '{UNUSED}' is a level without use"
        )
    return meanings


def read_levels(layout: Folders, folders: Folders) -> Mapping[str, str] | None:
    """Values of one file's folders by meaning; None if it lies above the folders of the classes."""
    if len(folders) <= layout.index(CLASS):
        return None
    label = folders[layout.index(CLASS)]
    return {CLASS: label, **named_levels(layout, folders)}


def named_levels(layout: Folders, folders: Folders) -> dict[str, str]:
    """Values of one file's folders by meaning, without the class; of as many levels as there are."""
    values = dict(zip(layout, folders, strict=False))
    for meaning in (UNUSED, CLASS):
        values.pop(meaning, None)
    return values | {SPLIT: values[SPLIT].casefold()} if SPLIT in values else values


def known_levels(folders: Collection[Folders]) -> Folders:
    """What each level of folders is by its names: a split, speakers, or of no use; no level is the class."""
    meanings: list[str] = []
    for names in _levels(folders):
        meaning = SPLIT if _are_splits(names) else SPEAKER if _most(names, _is_speaker) else UNUSED
        meanings.append(UNUSED if meaning in meanings else meaning)
    return tuple(meanings)


def _levels(folders: Collection[Folders]) -> list[frozenset[str]]:
    """Names of folders by level, outermost first."""
    depth = max(map(len, folders), default=0)
    return [frozenset(path[level] for path in folders if len(path) > level) for level in range(depth)]


def infer_layout(
    root: str, folders: Collection[Folders], labels: Sequence[str] | None, *, speaker_is_known: bool
) -> Folders:
    """The meaning of each level of folders, outermost first, down to the class or a split below it.

    The classes are the level with all `labels`; else the first one with mostly names of emotions; else the
    outermost one that is no split into training and test.

    Raises:
        CorpusError: two readings are possible; names both, and the option that chooses.
    """
    levels = _levels(folders)
    depth, is_split = len(levels), list(map(_are_splits, levels))
    outermost = is_split.index(False) if False in is_split else depth
    if outermost == depth:
        raise _no_classes(root, levels[0], "a split")
    known = next((level for level, names in enumerate(levels) if _are_classes(names, labels)), None)
    if known is None and not speaker_is_known:
        _refuse_other_readings(root, folders, levels, outermost)
    place = outermost if known is None else known
    if known is not None and not labels:
        _refuse_classes_below(root, folders, levels, place)
    above = [SPLIT if is_split[level] else UNUSED for level in range(place)]
    if UNUSED in above:
        inner = place - 1 - above[::-1].index(UNUSED)
        if _most(levels[inner], _may_be_speaker):
            above[inner] = SPEAKER
        elif not labels:
            raise _two_readings(root, levels, above[:inner], above[inner + 1 :])
    has_split_below = place + 1 < depth and is_split[place + 1] and SPLIT not in above
    return (*above, CLASS, *([SPLIT] if has_split_below else []))


def _refuse_other_readings(
    root: str, folders: Collection[Folders], levels: Sequence[frozenset[str]], outermost: int
) -> None:
    """Raise CorpusError where the outermost folders may be no classes."""
    below: dict[str, set[str]] = {}
    for path in folders:
        if len(path) > outermost:
            below.setdefault(path[outermost], set()).update(path[outermost + 1 : outermost + 2])
    shared = set.intersection(*below.values())  # as in Ann/left, Ann/right, Bob/left, Bob/right
    are_others = _most(shared, _may_be_speaker) or all(map(split_of, shared))
    if len(below) > 1 and len(shared) > 1 and not are_others:
        raise _two_readings(root, levels, [SPLIT] * outermost, [])
    if _most(levels[outermost], _is_speaker):
        raise _no_classes(root, levels[outermost], "speakers")


def _refuse_classes_below(
    root: str, folders: Collection[Folders], levels: Sequence[frozenset[str]], place: int
) -> None:
    """Raise CorpusError where a folder of a class has further classes in it, as positive/happy has."""
    for level in range(place + 1, len(levels)):
        inside: dict[str, set[str | None]] = {}
        for path in folders:
            if len(path) > level:
                found = {standard_name(word) for word in _emotions(path[level])}
                inside.setdefault(path[place], set()).update(found)
        if _are_classes(levels[level], None) and any(len(found) > 1 for found in inside.values()):
            raise _two_readings(root, levels, [UNUSED] * place, [UNUSED] * (level - place - 1))


def _are_classes(names: frozenset[str], labels: Collection[str] | None) -> bool:
    return set(labels) <= names if labels else len(names) > 1 and _most(names, is_emotion)


def _are_splits(names: frozenset[str]) -> bool:
    return len(names) > 1 and all(map(split_of, names))


def _is_speaker(name: str) -> bool:
    return bool(_SPEAKER.fullmatch(name))


def _may_be_speaker(name: str) -> bool:
    return _is_speaker(name) or bool(_CODE.fullmatch(name))


def _most(names: Collection[str], holds: Callable[[str], bool]) -> bool:
    return 2 * sum(map(holds, names)) > len(names)


def _two_readings(
    root: str, levels: Sequence[frozenset[str]], above: list[str], between: list[str]
) -> CorpusError:
    """The classes are the folders below `above`, or those below them and `between`."""
    outer, inner = "/".join([*above, CLASS]), "/".join([*above, SPEAKER, *between, CLASS])
    return CorpusError(
        f"{root}: which folders are the classes? With --set folder.layout={outer} they are "
        f"{_some(levels[len(above)])}; with --set folder.layout={inner} (or '{UNUSED}' in place of "
        f"'{SPEAKER}') they are {_some(levels[len(above) + len(between) + 1])}"
    )


def _no_classes(root: str, names: frozenset[str], what: str) -> CorpusError:
    return CorpusError(
        f"{root}: the folders {_some(names)} are named like {what} and not like classes. Add one folder per "
        "class, give a table with the columns path and label, or find the class in the paths by --label "
        "REGEX; with --set folder.layout=class these folders are the classes"
    )


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
