"""MELD, the Multimodal EmotionLines Dataset."""

import csv
from collections.abc import Iterator, Mapping

from marsbench.data.audio import SUFFIXES
from marsbench_plugins.published import PublishedCorpus, counts


class Meld(PublishedCorpus):
    """MELD: English, 13,708 utterances of the series Friends, seven emotions (GPL-3.0)."""

    title = "MELD"
    pattern = r"[^/]*(?P<split>train|dev|test)[^/]*/dia\d+_utt\d+"
    folders = r"[^/]*(train|dev|test)[^/]*|MELD.*"
    suffixes = SUFFIXES | {".mp4"}
    clip_id = "{split}/{stem}"
    label_files = "*_sent_emo.csv"
    published = counts("neutral=6436 joy=2308 sadness=1002 anger=1607 fear=358 disgust=361 surprise=1636")
    licence = "GPL-3.0"
    citation = "Poria et al. 2019, MELD, ACL, 527-536"
    access = "download MELD.Raw.tar.gz and its files *_sent_emo.csv as https://affective-meld.github.io says"

    def read_labels(self, name: str, text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The rows of train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv."""
        for row in csv.DictReader(text.splitlines()):
            clip = f"{name.partition('_')[0]}/dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            yield clip, {"label": row["Emotion"].lower(), "speaker": row["Speaker"]}
