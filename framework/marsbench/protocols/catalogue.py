"""The built-in protocols, and how a word becomes a protocol: a name of these, or a file's path."""

from pathlib import Path

from marsbench.errors import ConfigError, unknown
from marsbench.protocols.protocol import Definition
from marsbench.protocols.protocol_file import read_protocol_file
from marsbench.protocols.split_by_file import definition_of
from marsbench.protocols.splits import by_speaker, holdout80, leave_one_speaker_out, statement2, stratified
from marsbench.protocols.word import is_protocol_path

_PUBLISHED = Path(__file__).parent / "published"
"""Folds in print, as files such as users write."""


def _published(name: str) -> Definition:
    return definition_of(read_protocol_file(_PUBLISHED / f"{name}.toml"))


PROTOCOLS = {
    definition.name: definition
    for definition in (
        Definition("stratified5", "5 folds of clips at random, classes balanced", False, stratified(5)),
        Definition("holdout80", "one split, 80 % of clips for training, classes balanced", False, holdout80),
        Definition("speaker5", "5 folds of whole speakers, classes balanced", True, by_speaker(5)),
        Definition("loso", "leave one speaker out: a fold for each speaker", True, leave_one_speaker_out),
        _published("emobox6"),
        _published("luna5"),
        Definition("statement2", "2 folds of whole statements, classes balanced", False, statement2),
    )
}


def find_protocol(word: str) -> Definition:
    """The protocol of that name or in that file, without looking at any corpus.

    Raises:
        ConfigError: no such name, with the nearest one; or what `read_protocol_file` raises.
    """
    if is_protocol_path(word):
        return definition_of(read_protocol_file(Path(word)))
    if word not in PROTOCOLS:
        problem = unknown("protocol", word, PROTOCOLS)
        raise ConfigError(problem if problem.endswith("?") else f"{problem}, or a .toml or .json file")
    return PROTOCOLS[word]
