"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song, audio-only part."""

from dataclasses import dataclass
from typing import Literal, get_args

from marsbench.data.download import Archive
from marsbench.data.labels import EMOTIONS
from marsbench.errors import unknown
from marsbench_plugins.published import PublishedCorpus, codes, counts

Channels = Literal["both", "speech", "song"]

_RECORD = "https://zenodo.org/records/1188976/files/"
_SPEECH, _SONG = "Audio_Speech_Actors_01-24.zip", "Audio_Song_Actors_01-24.zip"


@dataclass
class Ravdess(PublishedCorpus):
    """RAVDESS: 24 actors speak and sing two sentences in eight emotions (CC BY-NC-SA 4.0).

    `root` is a folder that contains the clips (WAV or FLAC, in any sub-folders) or the published zips, or one
    of the zips; by default the folder into which `bench data fetch ravdess` downloads.
    """

    channels: Channels = "both"

    title = "RAVDESS"
    pattern = (  # modality, vocal channel, emotion, intensity, statement, repetition, actor
        r"03-(?P<channel>0[12])-(?P<label>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])-"
        r"(?P<repetition>0[12])-(?=(?P<sex>..))(?P<speaker>0[1-9]|1\d|2[0-4])"
    )
    words = codes(
        channel="01=speech 02=song",
        label=" ".join(f"{number:02}={emotion}" for number, emotion in enumerate(EMOTIONS, 1)),
        intensity="01=normal 02=strong",
        statement="01=kids 02=dogs",
        repetition="01=1 02=2",
        sex=" ".join(f"{actor:02}={'male' if actor % 2 else 'female'}" for actor in range(1, 25)),
        speaker=" ".join(f"{actor:02}=Actor_{actor:02}" for actor in range(1, 25)),
    )
    folders = r"actor[ _-]?\d+|.*(speech|song|ravdess|actor).*"
    suffixes = frozenset({".wav", ".flac"})
    clip_id = "{channel}/{speaker}/{stem}"
    published = counts("speech=1440 song=1012")
    counted = "channel"
    archives = (
        Archive(
            f"{_RECORD}{_SPEECH}", 208_468_073, "md5", "bc696df654c87fed845eb13823edef8a", _SPEECH, "speech"
        ),
        Archive(f"{_RECORD}{_SONG}", 225_505_317, "md5", "5411230427d67a21e18aa4d466e6d1b9", _SONG, "song"),
    )
    licence = "CC BY-NC-SA 4.0"
    citation = "Livingstone and Russo 2018, PLoS ONE 13(5), e0196391"

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise ValueError(unknown("channels", str(self.channels), get_args(Channels)))

    @property
    def part(self) -> str:
        """The channel that was asked for; empty for both."""
        return "" if self.channels == "both" else self.channels
