"""What a MODEL or TEXT argument may be, and the artifact it becomes where the work is done.

A local directory is uploaded (what is there already is not sent again); anything else is looked up: a digest, a
prefix of one with at least 8 hex digits, or a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from assay.errors import AssayError, InvalidInput, NotFound, PermissionDenied
from assay.progress import Progress, silent

if TYPE_CHECKING:
    from assay.artifacts.manifest import Artifact
    from assay.artifacts.remote import RemoteArtifacts
    from assay.artifacts.store import ArtifactStore

    Artifacts = RemoteArtifacts | ArtifactStore

CONFIG = "config.json"
WEIGHTS = ".safetensors"
# Pickles and other frameworks' copies of the weights: nothing here reads them, and they double an upload.
IGNORED_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite"}
)


def model_artifact(artifacts: Artifacts, argument: str, *, progress: Progress = silent) -> Artifact:
    """The model that MODEL names, stored in `artifacts`.

    argument: a directory as save_pretrained writes it, a digest, a prefix of one, or a label.
    Raises InvalidInput or PermissionDenied for a directory that holds no safe checkpoint, NotFound for a name that
    nobody knows; what the checkpoint holds is inspected where it is loaded.
    """
    folder = Path(argument)
    if argument and folder.is_dir():
        return artifacts.get(artifacts.put("model", checkpoint_files(folder), progress=progress))
    return _look_up(artifacts, argument, "model", "a directory with config.json and model.safetensors")


def text_artifact(artifacts: Artifacts, argument: str | None, *, progress: Progress = silent) -> Artifact:
    """The text that TEXT names, stored in `artifacts`.

    argument: None for the interpreter's standard library; a directory that holds the four splits as .jsonl, or one
    of .py, .txt, .md or .rst files; a digest, a prefix of one, or a label. Errors as in `model_artifact`.
    """
    # Reached by every command that takes a TEXT, and needed by those alone that bring one.
    from assay.zoo.corpus import SPLITS, read_split
    from assay.zoo.store import ensure_text

    if argument is not None and not (argument and Path(argument).is_dir()):
        return _look_up(artifacts, argument, "text", "a directory of .py, .txt, .md or .rst files")
    folder = None if argument is None else Path(argument)
    splits = [] if folder is None else [name for name in SPLITS if (folder / f"{name}.jsonl").is_file()]
    try:
        if folder is None or not splits:
            return artifacts.get(ensure_text(artifacts, folder))
        for name in SPLITS:
            if next(read_split(folder, name), None) is None:
                raise InvalidInput("text", f"has no row in {name}.jsonl; all four splits need some")
    except InvalidInput as error:
        raise InvalidInput("TEXT", f"{argument or 'the standard library'} {error.violations[0].description}") from None
    files = {f"{name}.jsonl": folder / f"{name}.jsonl" for name in SPLITS}
    return artifacts.get(artifacts.put("text", files, progress=progress))


def checkpoint_files(folder: Path) -> Mapping[str, Path]:
    """What of a checkpoint's directory is worth uploading, by name.

    Files of the directory itself: hidden ones, folders and other frameworks' weights stay behind. Symbolic links are
    followed, because downloads keep their files that way.
    """
    found = {path.name: path.resolve() for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."}
    if CONFIG not in found:
        raise InvalidInput("MODEL", f"{folder} has no {CONFIG}; give a directory written by save_pretrained")
    kept = {name: path for name, path in found.items() if Path(name).suffix not in IGNORED_SUFFIXES}
    if any(name.endswith(WEIGHTS) for name in kept):
        return kept
    if left := [name for name in found if name not in kept]:
        raise PermissionDenied(
            f"MODEL: {folder} has {left[0]} and no safetensors; pickled weights can run code when loaded, convert them",
            reason="PICKLED_WEIGHTS",
        )
    raise InvalidInput("MODEL", f"{folder} has no model{WEIGHTS}; save the model with save_pretrained")


def display_name(argument: str, artifact: Artifact) -> str:
    """What a person would call the artifact: the directory's name, the label, or what it was made by."""
    if Path(argument).is_dir():
        return Path(argument).resolve().name or str(Path(argument).resolve())
    parameters = artifact.manifest.parameters
    recipe = parameters.get("recipe", parameters.get("source"))
    hexadecimal = argument.removeprefix("sha256:")
    if not artifact.digest.removeprefix("sha256:").startswith(hexadecimal):
        return argument
    name = recipe.get("name") if isinstance(recipe, Mapping) else recipe
    return name if isinstance(name, str) and name else artifact.digest.removeprefix("sha256:")[:12]


def _look_up(artifacts: Artifacts, argument: str, kind: str, alternative: str) -> Artifact:
    field = kind.upper()
    if not argument:
        raise InvalidInput(field, f"is empty; give {alternative}, a digest or a label")
    if Path(argument).exists():
        raise InvalidInput(field, f"{argument} is a file; give {alternative}")
    try:
        found = artifacts.get(argument)
    except InvalidInput as error:
        if error.violations and error.violations[0].field == "reference":  # a prefix that fits several
            raise InvalidInput(field, f"{argument} {error.violations[0].description}") from None
        raise _unknown(field, kind, argument, alternative) from None
    except NotFound:
        raise _unknown(field, kind, argument, alternative) from None
    if found.manifest.kind != kind:
        raise InvalidInput(
            field, f"{argument} is an artifact of kind {found.manifest.kind}; `assay artifacts ls --kind {kind}` lists"
        )
    return found


def _unknown(field: str, kind: str, argument: str, alternative: str) -> AssayError:
    return NotFound(
        f"{field}: {argument} is neither a directory here nor an artifact there; give {alternative}, or one that "
        f"`assay artifacts ls --kind {kind}` lists"
    )
