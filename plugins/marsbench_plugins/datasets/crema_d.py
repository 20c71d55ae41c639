"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset, audio part."""

from marsbench_plugins.published import PublishedCorpus, codes, counts

_WOMEN = (  # VideoDemographics.csv; the other 48 actors are men
    "02 03 04 06 07 08 09 10 12 13 18 20 21 24 25 28 29 30 37 43 46 47 49 52 53 54 55 56 58 60 61 63 72 73 "
    "74 75 76 78 79 82 84 89 91"
)


class CremaD(PublishedCorpus):
    """CREMA-D: English, 7,442 clips of 91 actors, twelve sentences in six emotions (ODbL 1.0)."""

    title = "CREMA-D"
    pattern = (
        r"(?=10(?P<sex>\d\d))(?P<speaker>10\d\d)_(?P<statement>[A-Z]{3})_"
        r"(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|XX?)"
    )
    words = codes(
        label="NEU=neutral HAP=happy SAD=sad ANG=anger FEA=fear DIS=disgust",
        intensity="LO=low MD=medium HI=high XX,X=unspecified",
        sex=" ".join(f"{n:02}={'female' if f'{n:02}' in _WOMEN.split() else 'male'}" for n in range(1, 92)),
    )
    folders = r"Audio(WAV|MP3)|crema-?d.*"
    published = counts("neutral=1087 happy=1271 sad=1271 anger=1271 fear=1271 disgust=1271")
    licence = "ODbL 1.0"
    citation = "Cao et al. 2014, IEEE Transactions on Affective Computing 5(4), 377-390"
    access = "clone https://github.com/CheyneyComputerScience/CREMA-D with git-lfs, folder AudioWAV"
