"""TESS, the Toronto Emotional Speech Set."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Tess(PublishedCorpus):
    """TESS: English, 2,800 clips of 2 actresses, 200 words in seven emotions (CC BY-NC-ND 4.0).

    With two speakers, protocols by speaker have two folds: speaker2 or loso. Surprise is a pleasant one.
    """

    title = "TESS"
    pattern = (
        r"(?=(?P<sex>.))(?P<speaker>OAF?|YAF)_(?P<statement>[A-Za-z]+)_"
        r"(?P<label>angry|disgust|fear|happy|neutral|ps|sad)"
    )
    words = codes(
        label="neutral=neutral happy=happiness sad=sadness angry=anger fear=fear disgust=disgust ps=surprise",
        sex="O,Y=female",
        speaker="OA,OAF=OAF YAF=YAF",  # one file is called OA_bite_neutral.wav
    )
    folders = r"[OY]AF_\w+|(older|younger) talkers?.*|TESS.*"
    published = counts("neutral=400 happiness=400 sadness=400 anger=400 fear=400 disgust=400 surprise=400")
    licence = "CC BY-NC-ND 4.0"
    citation = "Pichora-Fuller and Dupuis 2020, Toronto emotional speech set, doi:10.5683/SP2/E8H2MF"
    access = "download all files of https://doi.org/10.5683/SP2/E8H2MF"
