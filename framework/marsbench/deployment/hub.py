"""Upload of a bundle, with its model card, to the Hugging Face Hub."""

import re
from pathlib import Path

from marsbench.environment import import_extra
from marsbench.errors import ExportError

_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def require_hub(repository: str) -> None:
    """Refuse what cannot be uploaded before anything is fitted.

    Raises:
        ExportError: the name is not OWNER/NAME, the package is not installed, or nobody is logged in.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ExportError(f"'{repository}' is not a repository of the Hugging Face Hub; give OWNER/NAME")
    if import_extra("huggingface_hub", "hub").get_token() is None:
        raise ExportError("nobody is logged in at the Hugging Face Hub; run: hf auth login, or set HF_TOKEN")


def push_to_hub(folder: Path, repository: str) -> str:
    """Upload a bundle's folder as one commit and return the repository's address.

    A repository that does not exist is made, private: golden clips are audio of the corpus, whose licence
    may not allow to publish them. HF_ENDPOINT names another server.

    Raises:
        ExportError: it cannot be uploaded; the folder stays.
    """
    hub = import_extra("huggingface_hub", "hub")
    try:
        api = hub.HfApi()
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Bundle of marsbench")
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ExportError(
            f"{folder} is written, but cannot be uploaded to {repository}: {why}; "
            f"to try again without a fit: hf upload {repository} {folder}"
        ) from error
    return str(address)
