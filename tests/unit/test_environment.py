"""How to install what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from marsbench import environment
from marsbench.environment import install_hint

HERE = Path("/home/me/my clones/mars")


@pytest.mark.parametrize(
    ("origin", "where", "command"),
    [
        (None, HERE, "pip install 'marsbench[app]'"),
        ({"url": "file:///tmp/marsbench.whl", "archive_info": {}}, HERE, "pip install 'marsbench[app]'"),
        ({"url": HERE.as_uri(), "dir_info": {"editable": True}}, HERE, "pip install -e '.[app]'"),
        ({"url": HERE.as_uri(), "dir_info": {"editable": True}}, Path("/"), f"pip install -e '{HERE}[app]'"),
        ({"url": HERE.as_uri(), "dir_info": {}}, HERE, "pip install 'marsbench[app]'"),
    ],
    ids=["index", "wheel", "in the checkout", "beside the checkout", "from a folder"],
)
def test_a_hint_installs_the_extra_of_what_is_installed(
    origin: dict[str, Any] | None, where: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = type("Installed", (), {"read_text": lambda *_: origin and json.dumps(origin)})
    monkeypatch.setattr(environment, "distribution", lambda _: installed())
    monkeypatch.setattr(Path, "cwd", lambda: where)
    assert install_hint("app") == command
