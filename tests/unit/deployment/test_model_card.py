"""The model card of a bundle, and its upload to a server that answers as the Hugging Face Hub."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from fixtures.made_runs import metrics
from marsbench.config import Criteria
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle_record, write_bundle
from marsbench.deployment.bundle_record import BaseRecord, Origin
from marsbench.deployment.hub import push_to_hub, require_hub
from marsbench.deployment.model_card import model_card
from marsbench.errors import ExportError
from marsbench.evaluation.by_group import ConfidenceScores, ValueScores
from marsbench.evaluation.scores import Score

pytest.importorskip("huggingface_hub", reason="no huggingface_hub here: pip install 'marsbench[hub]'")


def with_scores(record: BaseRecord, **changes: Any) -> BaseRecord:
    """The record as if its run had these scores."""
    score = Score(value=0.7, low=0.6, high=0.8)
    origin = Origin(
        run_id="a-b-s0-1", protocol="speaker5", protocol_hash="", by_speaker=True, criteria=Criteria(),
        metrics=metrics(0.5), verdict="fail", pass_confidence=None, limits=["No speaker is known."],
        groups={"sex": [ValueScores("f|m", 10, {"accuracy": score, "uar": score})]},
        confidences=[ConfidenceScores(0.0, 0.5, 20, score), ConfidenceScores(0.5, 1.0, 30, score)],
    )  # fmt: skip
    return record.model_copy(update={"origin": origin.model_copy(update=changes)})


def metadata(card: str) -> Any:
    return yaml.safe_load(card.split("\n---\n", maxsplit=1)[0].removeprefix("---\n"))


def test_scores_stand_in_the_card_with_intervals_by_class_and_group_and_for_whom(bundle: Bundle) -> None:
    card = model_card(with_scores(bundle.record))
    for line in (
        "| accuracy | 50.0 | 40.0 to 60.0 |",
        "| recall of high, 10 clips | 50.0 | 40.0 to 60.0 |",
        r"| f\|m | 10 | 70.0 (60.0 to 80.0) | 70.0 (60.0 to 80.0) |",
        "| 50 to 100 % | 30 | 70.0 (60.0 to 80.0) |",
        "on new speakers",
        "No speaker is known.",
    ):
        assert line in card
    (model,) = metadata(card)["model-index"]
    assert model["results"][0]["metrics"][0]["value"] == 50.0
    assert metadata(card)["pipeline_tag"] == "audio-classification"


def test_a_bundle_that_was_not_tested_says_so_and_has_no_scores(bundle: Bundle) -> None:
    card = model_card(bundle.record)
    assert "not known" in card
    assert "model-index" not in metadata(card)


@pytest.mark.parametrize(
    ("fold", "told"),
    [
        (None, "on all clips, so no clip is left"),
        (1, "the training part of fold 2, whose test clips it has not"),
    ],
)
def test_the_card_tells_whether_clips_are_left_to_test_the_model_on(
    bundle: Bundle, fold: int | None, told: str
) -> None:
    assert told in model_card(with_scores(bundle.record.model_copy(update={"fold": fold})))


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"), ("CC BY 4.0", "cc-by-4.0"), ('ask: "me"\n---\nx: 1', "other")],
)
def test_the_licence_is_the_hubs_name_or_other(bundle: Bundle, licence: str, expected: str) -> None:
    corpus = bundle.record.corpus.model_copy(update={"licence": licence})
    found = metadata(model_card(bundle.record.model_copy(update={"corpus": corpus})))
    assert found["license"] == expected
    assert "x" not in found


def test_names_cannot_break_the_tables_or_the_metadata(bundle: Bundle) -> None:
    labels = ["a|b", "`x`\n# heading", "<script>"]
    card = model_card(bundle.record.model_copy(update={"labels": labels}))
    assert "\n# heading" not in card
    assert r"\<script\>" in card


class Hub(BaseHTTPRequestHandler):
    """Takes a commit of regular files."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        made = self.server.__dict__
        if made["refuses"]:
            return self.answer({"error": "no"}, 403)
        if self.path == "/api/repos/create":
            made["created"] = json.loads(body)
            return self.answer({"url": f"{made['address']}/someone/voices"})
        if "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            made["files"] = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            return self.answer(
                {
                    "commitUrl": f"{made['address']}/someone/voices/commit/{'0' * 40}",
                    "commitOid": "0" * 40,
                    "success": True,
                }
            )
        return self.answer({"warnings": [], "errors": []})

    def do_GET(self) -> None:
        self.answer({}, 403 if self.server.__dict__["refuses"] else 200)

    def answer(self, values: Any, code: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a server on loopback was sent; `refuses` makes it refuse."""
    import huggingface_hub
    from huggingface_hub import hf_api

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        made = server.__dict__
        made |= {"refuses": False, "address": f"http://127.0.0.1:{server.server_port}"}
        monkeypatch.setenv("HF_TOKEN", "hf_token")
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.setattr(
            huggingface_hub,
            "HfApi",
            lambda: hf_api.HfApi(endpoint=made["address"], token="hf_token"),  # noqa: S106 - a fake
        )
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def test_a_bundle_is_uploaded_with_its_card_into_a_private_repository(
    hub: dict[str, Any], bundle: Bundle, corpus: CheckedCorpus, tmp_path: Path
) -> None:
    write_bundle(bundle, tmp_path / "bundle", golden_samples(corpus))
    address = push_to_hub(tmp_path / "bundle", "someone/voices")
    assert address.endswith("/someone/voices")
    made = hub["created"]  # releases from 2.0 on send the visibility
    assert made.get("visibility", made.get("private")) in {"private", True}
    sent = hub["files"]
    assert sent["README.md"].startswith(b"---\nlibrary_name: marsbench")
    assert set(sent) == {"bundle.json", *read_bundle_record(tmp_path / "bundle").files}


def test_a_refused_upload_is_one_line_and_the_bundle_stays(
    hub: dict[str, Any], bundle: Bundle, tmp_path: Path
) -> None:
    hub["refuses"] = True
    write_bundle(bundle, tmp_path / "bundle")
    with pytest.raises(
        ExportError, match=r"is written, but cannot be uploaded to someone/voices: .*403"
    ) as told:
        push_to_hub(tmp_path / "bundle", "someone/voices")
    assert "\n" not in str(told.value)
    assert (tmp_path / "bundle" / "README.md").exists()


def test_a_wrong_name_or_nobody_logged_in_is_told_before_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    with pytest.raises(ExportError, match="OWNER/NAME"):
        require_hub("voices")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ExportError, match="hf auth login"):
        require_hub("someone/voices")
