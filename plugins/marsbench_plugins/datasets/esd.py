"""ESD, the Emotional Speech Dataset."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Esd(PublishedCorpus):
    """ESD: Mandarin and English, 35,000 clips of 20 speakers in five emotions (research only)."""

    title = "ESD"
    pattern = (
        r"(?P<speaker>00(?P<sex>(?P<language>\d\d)))/(?P<label>Angry|Happy|Neutral|Sad|Surprise)/"
        r"(?:(?P<split>train|evaluation|test)/)?(?P=speaker)_(?P<statement>\d{6})"
    )
    words = codes(
        label="Neutral=neutral Happy=happy Sad=sad Angry=angry Surprise=surprise",
        language=" ".join(f"{n:02}={'Mandarin' if n <= 10 else 'English'}" for n in range(1, 21)),
        split="evaluation=dev",
        sex="01,02,03,07,09,15,16,17,18,19=female 04,05,06,08,10,11,12,13,14,20=male",
    )
    folders = r"00\d\d|angry|happy|neutral|sad|surprise|train|evaluation|test|ESD|emotion.* speech data.*"
    published = counts("neutral=7000 happy=7000 sad=7000 angry=7000 surprise=7000")
    licence = "research only, by a signed licence"
    citation = "Zhou et al. 2022, Emotional voice conversion, Speech Communication 137, 1-18"
    access = "ask for it as https://github.com/HLTSingapore/Emotional-Speech-Data says"

    def refined(self, told: dict[str, str]) -> dict[str, str]:
        """As the path tells; in each emotion the same 350 sentences of a language follow each other."""
        return told | {"statement": f"{told['language']}_{(int(told['statement']) - 1) % 350 + 1}"}
