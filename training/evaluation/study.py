"""Studies: which methods are compared with each other, with which options and how many seeds.

They are defined in docs/results/studies.yaml. `study_runs` runs them, `study_page` writes the page.
"""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.errors import DataError, in_one_line, quoted
from training.storage.files import parse_yaml

RESULTS = Path("docs/results")
"""Where definitions, records, plots and the page's template are, from the repository's root."""

DEFINITIONS = "studies.yaml"


class _Strict(BaseModel):
    """A record of the file; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Study(_Strict):
    """A set of methods that are compared with each other.

    Attributes:
        experiments: names in conf/experiment/, without "sotopia_"; tables show each method's lead
            over the first.
        published: (goal, relationship) in self-play as a paper reports them, by experiment.
        variants: further options by the variant's name; each experiment is run with each variant.
        options: options of every run of this study.
        seeds: the largest number of seeds; None for no limit.
    """

    title: str
    experiments: tuple[str, ...] = Field(min_length=1)
    published: dict[str, tuple[float, float]] = {}
    variants: dict[str, tuple[str, ...]] = {}
    options: tuple[str, ...] = ()
    seeds: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _published_are_experiments(self) -> Study:
        if unknown := sorted(set(self.published) - set(self.experiments)):
            raise ValueError(f"published has {', '.join(unknown)}, which experiments has not")
        return self

    def methods(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The experiment and the options of each method, by the method's name."""
        if not self.variants:
            return {name: (name, self.options) for name in self.experiments}
        return {
            (name := f"{experiment}-{variant}"): (
                experiment,
                (*self.options, *options, f"name={name}"),
            )
            for experiment in self.experiments
            for variant, options in self.variants.items()
        }


class Studies(_Strict):
    """All studies of a file.

    Attributes:
        options: options of every run of every study.
        smoke_options: options of a run that takes seconds, instead of `options`.
        dialogues: scenarios whose dialogues a record keeps, before and after training.
    """

    options: tuple[str, ...]
    smoke_options: tuple[str, ...]
    dialogues: int = Field(default=0, ge=0)
    studies: dict[str, Study]


def read_studies(file: Path) -> Studies:
    """Read the definitions of studies.

    Raises:
        DataError: the file cannot be read, or a field is missing, unknown or malformed; the
            message names it.
    """
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
        return Studies.model_validate(content)
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}), but it defines the studies; start the "
            "command from the root of the repository."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{file} does not define studies: {quoted(field)[1:-1]}: {first['msg'][:200]}; correct "
            "it."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{file} is not YAML ({in_one_line(error)}); correct it.") from error
