"""ShEMO, the Sharif Emotional Speech Database."""

from marsbench.data.download import Archive
from marsbench_plugins.published import PublishedCorpus, codes, counts

_FILES = (
    "https://media.githubusercontent.com/media/mansourehk/ShEMO/ed2c666098ac7944dcb893300aaf7ca4f9e532ab/"
)
_FEMALE = "663d8d7dceb44adbbf87d84be3a080fb691d169fbd972f6941e6302bc39f71e6"
_MALE = "747670d0d918e59d5e5020cf66610242890b093d42968c467c4f02eb5e6a6b1a"


class ShEmo(PublishedCorpus):
    """ShEMO: Persian, 3,000 clips of 87 speakers in radio plays, six emotions (free for academic use)."""

    title = "ShEMO"
    pattern = r"(?=(?P<sex>[FM]))(?P<speaker>[FM]\d\d)(?P<label>[AFHNSW])\d\d"
    words = codes(label="N=neutral H=happiness S=sadness A=anger F=fear W=surprise", sex="F=female M=male")
    folders = r"female|male|ShEMO.*"
    published = counts("neutral=1028 happiness=201 sadness=449 anger=1059 fear=38 surprise=225")
    archives = (
        Archive(f"{_FILES}female.zip", 374_368_830, "sha256", _FEMALE, "shemo_female.zip", "female"),
        Archive(f"{_FILES}male.zip", 496_606_401, "sha256", _MALE, "shemo_male.zip", "male"),
    )
    licence = "free for academic use"
    citation = "Mohamad Nezami et al. 2019, Language Resources and Evaluation 53(1), 1-16"
    access = "see https://github.com/pariajm/sharif-emotional-speech-database"
