"""The JL corpus of primary and secondary emotions."""

from marsbench_plugins.published import PublishedCorpus, counts


class JlCorpus(PublishedCorpus):
    """JL corpus: New Zealand English, 2,400 clips of 4 speakers in ten emotions (CC0-1.0)."""

    title = "JL corpus"
    pattern = (
        r"(?=(?P<sex>male|female))(?P<speaker>(?:fe)?male[12])_"
        r"(?P<label>angry|sad|neutral|happy|excited|anxious|apologetic|assertive|concerned|encouraging)_"
        r"(?P<statement>\d+)(?P<session>[ab])_(?P<repetition>[12])"
    )
    folders = r"JL.*|Raw JL corpus.*"
    published = counts(
        "neutral=240 happy=240 sad=240 angry=240 excited=240 anxious=240 apologetic=240 assertive=240 "
        "concerned=240 encouraging=240"
    )
    licence = "CC0-1.0"
    citation = "James, Tian and Watson 2018, An Open Source Emotional Speech Corpus, Interspeech, 2768-2772"
    access = "download https://www.kaggle.com/datasets/tli725/jl-corpus"
