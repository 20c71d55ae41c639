"""EMOVO, an Italian emotional speech database."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Emovo(PublishedCorpus):
    """EMOVO: Italian, 588 clips of 6 actors, 14 sentences in seven emotions (research only)."""

    title = "EMOVO"
    pattern = (
        r"(?P<label>dis|gio|neu|pau|rab|sor|tri)-(?=(?P<sex>.))(?P<speaker>[fm][1-3])-"
        r"(?P<statement>b[1-3]|d[12]|l[1-4]|n[1-5])"
    )
    words = codes(
        label="neu=neutral gio=joy tri=sadness rab=anger pau=fear dis=disgust sor=surprise",
        sex="f=female m=male",
    )
    folders = r"[fm][1-3]|EMOVO.*"
    published = counts("neutral=84 joy=84 sadness=84 anger=84 fear=84 disgust=84 surprise=84")
    licence = "research only"
    citation = "Costantini et al. 2014, EMOVO Corpus, LREC, 3501-3504"
    access = "download it from http://voice.fub.it/activities/corpora/emovo/index.html or ask its authors"
