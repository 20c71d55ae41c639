"""EMO-DB, the Berlin Database of Emotional Speech."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class EmoDb(PublishedCorpus):
    """EMO-DB: German, 535 clips of 10 actors, ten sentences in seven emotions (CC0-1.0)."""

    title = "EMO-DB"
    pattern = (
        r"(?=(?P<sex>..))(?P<speaker>03|08|09|1[0-6])(?P<statement>[ab](?:0[1-579]|10))"
        r"(?P<label>[AEFLNTW])(?P<repetition>[a-f])"
    )
    words = codes(
        label="N=neutral F=happiness T=sadness W=anger A=fear E=disgust L=boredom",
        sex="03,10,11,12,15=male 08,09,13,14,16=female",
    )
    folders = r"wav|emo-?db.*"
    published = counts("neutral=79 happiness=71 sadness=62 anger=127 fear=69 disgust=46 boredom=81")
    licence = "CC0-1.0"
    citation = "Burkhardt et al. 2005, A Database of German Emotional Speech, Interspeech"
    access = "download http://emodb.bilderbar.info/download/download.zip (41 MB) and unpack it"
