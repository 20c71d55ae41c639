"""What the model's own plugin saves, in a folder `model/`.

Any model has this format. It is the default, and the only one that is read by the model's plugin.
"""

from collections.abc import Callable
from pathlib import Path

from marsbench.deployment.model_format import ModelFormat, Predictor
from marsbench.plugin.features import FeatureKind
from marsbench.plugin.model import Model


class PluginFormat(ModelFormat):
    """Files of whatever kind the plugin writes."""

    suffix = ""
    models = (Model,)
    needs_plugin = True

    def location(self, model: str) -> str:
        """Name of the folder."""
        return "model"

    def write(self, path: Path, model: Model, kind: FeatureKind, quantised: str | None) -> None:
        """Let the plugin save the model into a new folder."""
        path.mkdir()
        model.save(path)

    def read(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """Let the plugin load the folder."""
        return plugin().load(path)
