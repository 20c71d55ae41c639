"""IEMOCAP, the Interactive Emotional Dyadic Motion Capture Database, audio part."""

from marsbench_plugins.published import PublishedCorpus, codes, counts


class Iemocap(PublishedCorpus):
    """IEMOCAP: English, 10,039 turns of 10 actors, 7,532 with one of ten emotions (research only)."""

    title = "IEMOCAP"
    pattern = r"Ses0(?P<session>[1-5])[FM]_(?P<scenario>impro|script)\w+_(?P<sex>[FM])(?:\d{3}|XX\d)"
    words = codes(
        label="neu=neutral hap=happiness exc=excitement sad=sadness ang=anger fru=frustration fea=fear "
        "dis=disgust sur=surprise oth=other",
        scenario="impro=improvised script=scripted",
        sex="F=female M=male",
    )
    folders = r"Session[1-5]|sentences|dialog|wav|Ses0[1-5]\w+|IEMOCAP.*"
    speaker_id = "session{session}_{sex}"
    label_files = "EmoEvaluation/*.txt"
    label_pattern = r"^\[[\d. -]+\]\t(?P<clip>\w+)\t(?P<label>\w+)\t"
    published = counts(
        "neutral=1708 happiness=595 excitement=1041 sadness=1084 anger=1103 frustration=1849 fear=40 "
        "disgust=2 surprise=107 other=3"
    )
    licence = "research only, by agreement"
    citation = "Busso et al. 2008, Language Resources and Evaluation 42, 335-359"
    access = "ask for it at https://sail.usc.edu/iemocap/iemocap_release.htm"
