"""URDU, utterances from Urdu talk shows."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Urdu(PublishedCorpus):
    """URDU: Urdu, 400 clips of 38 speakers in talk shows, four emotions (research only)."""

    title = "URDU"
    pattern = r"(?=S(?P<sex>[FM]))(?P<speaker>S[FM]\d+)_F\d+_(?P<label>[AHNS])\d+"
    words = codes(label="N=neutral H=happy S=sad A=angry", sex="F=female M=male")
    folders = r"angry|happy|neutral|sad|S[FM]\d+|urdu.*"
    published = counts("neutral=100 happy=100 sad=100 angry=100")
    licence = "research only"
    citation = "Latif et al. 2018, Cross Lingual Speech Emotion Recognition, arXiv:1812.10411"
    access = "clone https://github.com/siddiquelatif/URDU-Dataset"
