"""Checkpoints from the Hugging Face hub, by name."""

from collections.abc import Sequence
from pathlib import Path

from shrota_export.errors import HubError


def download(name: str, descriptions: Sequence[str]) -> Path:
    """Brings a model's description files and weights into the hub's local cache; what is there already is not fetched.

    Pickled weights are only fetched where there are no safetensors. Without a network, what the cache holds is used.

    Returns:
        The folder in the cache.

    Raises:
        HubError: if the hub has no such model or gives it only to some, or cannot be reached and the cache is empty.
    """
    # imported here because it is slow, and a local folder needs none of it
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*descriptions, "model*.safetensors*"]))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*descriptions, "pytorch_model*.bin*"]))
    except GatedRepoError as error:
        raise HubError(
            name, "its authors ask for an agreement: accept it on the web page, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            name, "there is no such folder here and no such model there (private? `hf auth login`)"
        ) from error
    except LocalEntryNotFoundError as error:
        reason = (
            "there is no such folder here, and the hub cannot be reached; copy the checkpoint here and give its folder"
        )
        raise HubError(name, reason) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise HubError(name, str(error).strip().splitlines()[0]) from error
    return folder
