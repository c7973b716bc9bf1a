"""What a generated directory holds: every name in it, and who writes it."""

from __future__ import annotations

# -- beside each other: what Kipoi reads, and how it was made ----------------------------------------------------------
MODEL_YAML = "model.yaml"
DATALOADER_YAML = "dataloader.yaml"
DATALOADER_CODE = "dataloader.py"
STITCHED_MODEL_CODE = "stitched_model.py"
MODEL_CODE = "model.py"
PREDICT_CODE = "predict.py"
PACKAGE_CODE = "__init__.py"
RECORD = "stitch.yaml"
PICTURE = "graph.svg"
CARD = "README.md"
CERTIFICATE = "certificate.json"
GIT_IGNORES = ".gitignore"

# Kipoi reads either ending of its own files.
MODEL_YAMLS = (MODEL_YAML, "model.yml")
DATALOADER_YAMLS = (DATALOADER_YAML, "dataloader.yml")

# -- folders -----------------------------------------------------------------------------------------------------------
MODEL_FILES = "model_files"
EXPECTED = f"{MODEL_FILES}/expected.h5"
ARCHITECTURE = f"{MODEL_FILES}/model.json"
CUSTOM_OBJECTS = f"{MODEL_FILES}/custom_objects.py"
CUSTOM_OBJECTS_FOLDER = f"{MODEL_FILES}/custom_objects"

EXAMPLES = "example_files"
RUNTIME = "merging"

COMPONENTS = "components"
PACKED_MODEL = "packed_model"
DATALOADER_FILES = "dataloader_files"

WORKFLOW = "workflow"
SNAKEFILE = "Snakefile"
RULES = "rules"
SCRIPTS = "scripts"
PROFILES = "profiles"
WORKFLOW_CONFIG = "config.yaml"
ENVIRONMENTS = "envs"
PIP_REQUIREMENTS = "requirements.txt"
CONDA_ENVIRONMENT = "environment.yaml"
DOCKER_IMAGE = "Dockerfile"
APPTAINER_IMAGE = "apptainer.def"
BUILT_IMAGE = "image.sif"
JOBS = "models"
MANIFEST = "sha256.json"

# -- what others leave -------------------------------------------------------------------------------------------------
DOWNLOADS = "downloaded"
COMPILED = "__pycache__"

# What lies at the top of a generated directory, and who writes it: a module of keras_stitch, or another program.
# Anything else there is somebody's own.
WRITERS = {
    MODEL_YAML: "directory/write_directory.py",
    DATALOADER_YAML: "directory/dataloader_code.py",
    DATALOADER_CODE: "directory/dataloader_code.py",
    STITCHED_MODEL_CODE: "kipoi/templates.py",
    MODEL_CODE: "directory/packed_models.py",
    PREDICT_CODE: "directory/runtime_files.py",
    PACKAGE_CODE: "directory/runtime_files.py",
    RECORD: "directory/write_directory.py",
    PICTURE: "directory/write_directory.py",
    CARD: "directory/card.py",
    CERTIFICATE: "directory/write_directory.py",
    GIT_IGNORES: "directory/write_directory.py",
    MODEL_FILES: "directory/write_directory.py",
    EXAMPLES: "directory/example_files.py",
    RUNTIME: "directory/runtime_files.py",
    COMPONENTS: "directory/dataloader_code.py",
    WORKFLOW: "workflow/write_workflow.py",
    DOWNLOADS: "Kipoi",
    COMPILED: "Python",
}

# The files that every generated directory has.
ALWAYS = (RECORD, MODEL_YAML, DATALOADER_YAML)

# Folders at the top of a Kipoi directory that hold none of its code.
WITHOUT_CODE = frozenset({DOWNLOADS, COMPILED, MODEL_FILES, EXAMPLES, WORKFLOW})


def model_file(ending: str) -> str:
    """The file of the Keras model."""
    return f"{MODEL_FILES}/model.{ending}"


def component_folder(name: str) -> str:
    """Where the files of a part's dataloader lie."""
    return f"{COMPONENTS}/{name}"


def packed_folder(name: str) -> str:
    """Where a model that runs in the dataloader lies."""
    return f"{component_folder(name)}/{PACKED_MODEL}"


def job_folder(name: str) -> str:
    """Where the models lie that run in an environment of their own."""
    return f"{WORKFLOW}/{JOBS}/{name}"
