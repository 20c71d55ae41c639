"""SAVEE, Surrey Audio-Visual Expressed Emotion, audio part."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Savee(PublishedCorpus):
    """SAVEE: English, 480 clips of 4 men, sentences in seven emotions (research only, by registration)."""

    title = "SAVEE"
    pattern = r"(?=(?P<sex>.))(?P<speaker>DC|JE|JK|KL)[_/](?P<statement>(?P<label>sa|su|[adfhn])\d\d)"
    words = codes(
        label="n=neutral h=happiness sa=sadness a=anger f=fear d=disgust su=surprise",
        sex="D,J,K=male",
    )
    folders = r"DC|JE|JK|KL|ALL|AudioData|SAVEE.*"
    clip_id = "{speaker}_{statement}"
    published = counts("neutral=120 happiness=60 sadness=60 anger=60 fear=60 disgust=60 surprise=60")
    licence = "research only, by registration"
    citation = "Haq and Jackson 2010, Multimodal Emotion Recognition, in Machine Audition, IGI Global"
    access = "register at http://kahlan.eps.surrey.ac.uk/savee/"
