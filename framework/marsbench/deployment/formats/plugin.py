"""What the model's own plugin saves: any model has this format, and needs its plugin to be read."""

from collections.abc import Callable
from pathlib import Path

from marsbench.deployment.model_format import ModelFormat, Predictor
from marsbench.plugin.features import FeatureKind
from marsbench.plugin.model import Model


class PluginFormat(ModelFormat):
    """A folder `model/` with the plugin's files."""

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
