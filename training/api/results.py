"""Results as Python shows them: what a run or an evaluation has left in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from envs.errors import ConfigError, DataError
from envs.options import did_you_mean
from training.api.dialogues import Dialogue
from training.config import from_mapping
from training.evaluation.statistics import Stat
from training.storage.run_files import (
    BC,
    CHECKPOINTS,
    CONFIG,
    REPORT,
    STORE,
    SUMMARY,
    TRAINED,
    read_metrics,
    read_result,
)
from training.storage.run_options import read_config
from training.storage.store import Store

Row = dict[str, Any]
"""A row of a table; a list of them makes a DataFrame: `pandas.DataFrame(result.rows())`."""


@dataclass(frozen=True, repr=False)
class Result:
    """A finished training run or evaluation, read from its folder when it is asked.

    Attributes:
        folder: where everything is: config.yaml, store.sqlite, summary.json, report.html ...
    """

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """All options, nested, as in config.yaml."""
        return read_config(self.folder / CONFIG)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        Raises:
            ConfigError: the run is not finished.
            DataError: the file was cut or changed.
        """
        if not (self.folder / SUMMARY).is_file():
            raise ConfigError(
                f"{self.folder} has no {SUMMARY}, so it is not finished; go on with "
                f"resume={str(self.folder)!r} and the same options."
            )
        return read_result(self.folder, SUMMARY)

    @property
    def report(self) -> Path:
        """The report, one HTML page."""
        return self.folder / REPORT

    @property
    def partners(self) -> tuple[str, ...]:
        """Whom the policies were measured against."""
        return tuple(self.summary["policies"][TRAINED])

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that were measured: "final" always, and those that it is compared with."""
        return tuple(self.summary["policies"])

    def mean(self, metric: str = "goal", *, partner: str = "self", policy: str = TRAINED) -> Stat:
        """A metric's mean over scenarios, with its 95 % interval.

        Raises:
            DataError: there is no such policy, partner or metric.
        """
        return _stat(self.summary["policies"], policy, partner, metric)

    def difference(self, metric: str = "goal", *, partner: str = "self", to: str = BC) -> Stat:
        """The trained policy minus another one, paired on the same scenarios, with its interval.

        Raises:
            DataError: there is no such policy, partner or metric.
        """
        paired = {BC: self.summary["paired"], **self.summary["paired_to"]}
        return _stat(paired, to, partner, metric)

    def rows(self) -> list[Row]:
        """All means: a row for each policy, partner and metric.

        Returns:
            Dicts with policy, partner, metric, mean, low, high (the 95 % interval, None where there
            is none) and n, the number of scenarios.
        """
        return [
            {"policy": policy, "partner": partner, "metric": metric, **_flat(_of(stat))}
            for policy, partners in self.summary["policies"].items()
            for partner, stats in partners.items()
            for metric, stat in stats.items()
        ]

    def episodes(self, phase: str = "evaluate", iteration: int | None = None) -> list[Dialogue]:
        """The episodes that were played; `pandas.DataFrame([e.row() for e in run.episodes()])`.

        Args:
            phase: "evaluate", "collect", "curve" or another whose name begins the episodes' ids.
            iteration: of that iteration alone.
        """
        scenario_of = _scenario_reader(self.config)
        with Store.read_only(self.folder / STORE, scenario_of) as store:
            return [
                Dialogue(played)
                for key in sorted({(each.iteration, each.phase) for each in store.waves()})
                if key[1].split("-")[0] == phase and iteration in (None, key[0])
                for played in store.episodes(key[1], key[0])
            ]

    def _headline(self) -> Iterator[str]:
        for partner in self.partners:
            parts = [f"{name} {_shown(self.mean(partner=partner, policy=name))}" for name in
                     self.policies if partner in self.summary["policies"][name]]  # fmt: skip
            line = f"  {partner:<12} goal: {', '.join(parts)}"
            if partner in self.summary["paired"]:
                line += f"; final - bc {_shown(self.difference(partner=partner), '+.2f')}"
            yield line

    def _title(self) -> str:
        return f"{type(self).__name__} {self.folder}"

    def __repr__(self) -> str:
        if not (self.folder / SUMMARY).is_file():
            return f"{self._title()}\n  not finished; go on with resume={str(self.folder)!r}"
        return "\n".join([self._title(), *self._headline()])


class TrainingRun(Result):
    """A training run: its checkpoints and metrics beside what every result has."""

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """The folders of all checkpoints, the clone's first."""
        return tuple(sorted((self.folder / CHECKPOINTS).glob("[0-9]*")))

    @property
    def checkpoint(self) -> Path:
        """The folder of the newest checkpoint, which `evaluate` and `play` take."""
        if not self.checkpoints:
            raise ConfigError(f"{self.folder} has no checkpoint yet; go on with the run.")
        return self.checkpoints[-1]

    @property
    def metrics(self) -> list[Row]:
        """The lines of metrics.jsonl: one for each iteration, from the clone's, 0, on."""
        return read_metrics(self.folder)

    def _title(self) -> str:
        config = self.config
        name = config.get("name") or config["objective"]["name"]
        return f"{super()._title()} ({name}, seed {config['seed']})"


class Evaluation(Result):
    """An evaluation of one policy, and of its clone where there is one."""

    def _title(self) -> str:
        return f"{super()._title()} ({self.config['policy']['name']})"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Policies compared in pairs, on the scenarios that they share.

    Attributes:
        data: as in comparison.json; see `training.evaluation.comparison.compare`.
    """

    data: Mapping[str, Any]

    @property
    def baseline(self) -> str:
        """The policy that the others are compared with."""
        return str(self.data["baseline"])

    @property
    def policies(self) -> tuple[str, ...]:
        """All of them, the baseline first."""
        return tuple(next(iter(self.data["partners"].values()))["policies"])

    @property
    def partners(self) -> tuple[str, ...]:
        """The partners that all of them have met."""
        return tuple(self.data["partners"])

    def mean(self, metric: str = "goal", *, partner: str = "self", policy: str) -> Stat:
        """A metric's mean over scenarios, with its 95 % interval."""
        return _stat(self._by_policy("policies"), policy, partner, metric)

    def difference(self, metric: str = "goal", *, partner: str = "self", policy: str) -> Stat:
        """The policy minus the baseline, paired on the same scenarios, with its interval."""
        return _stat(self._by_policy("paired"), policy, partner, metric)

    def rows(self) -> list[Row]:
        """A row for each policy, partner and metric: its mean, and its lead over the baseline."""
        return [
            {
                "policy": policy, "partner": partner, "metric": metric, **_flat(_of(stat)),
                **{f"lead_{name}": value for name, value in _flat(_of(lead)).items()},
            }
            for partner, found in self.data["partners"].items()
            for policy, stats in found["policies"].items()
            for metric, stat in stats.items()
            for lead in [found["paired"].get(policy, {}).get(metric)]
        ]  # fmt: skip

    def _by_policy(self, part: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for partner, of in self.data["partners"].items():
            for policy, stats in of[part].items():
                found.setdefault(policy, {})[partner] = stats
        return found

    def __repr__(self) -> str:
        lines = [f"Comparison with {self.baseline}"]
        for partner in self.partners:
            for policy in self.policies:
                mean = self.mean(partner=partner, policy=policy)
                line = f"  {partner:<12} {policy}: goal {_shown(mean)}"
                if policy != self.baseline:
                    lead = self.difference(partner=partner, policy=policy)
                    line += f", {_shown(lead, '+.2f')}"
                lines.append(line)
        return "\n".join(lines)


def load(folder: Path | str) -> TrainingRun | Evaluation:
    """The run or evaluation in a folder, such as "outputs/latest".

    Raises:
        ConfigError: there is none.
    """
    place = Path(folder).resolve()
    if not (place / CONFIG).is_file():
        raise ConfigError(
            f"{folder} has no {CONFIG}, so it is no run; give the folder of a run, such as "
            "outputs/latest."
        )
    return TrainingRun(place) if any((place / CHECKPOINTS).glob("[0-9]*")) else Evaluation(place)


def _scenario_reader(config: Mapping[str, Any]) -> Any:
    env = from_mapping(config).env
    if not env.is_protocol:
        return env.scenario_of
    from training.evaluation.held_out import held_out

    return held_out(from_mapping(config)).scenario_of


def _stat(found: Mapping[str, Any], policy: str, partner: str, metric: str) -> Stat:
    stats = _pick("policy", policy, found)
    return _of(_pick("metric", metric, _pick("partner", partner, stats)))


def _pick(what: str, name: str, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise DataError(
            f"There is no {what} {name}.{did_you_mean(name, found)} There are "
            f"{', '.join(found) or 'none'}."
        )
    return found[name]


def _of(stat: Mapping[str, Any] | None) -> Stat:
    if stat is None:
        return Stat(None, None, 0)
    low_high = stat["ci95"]
    return Stat(stat["mean"], None if low_high is None else (low_high[0], low_high[1]), stat["n"])


def _flat(stat: Stat) -> Row:
    low, high = stat.ci95 or (None, None)
    return {"mean": stat.mean, "low": low, "high": high, "n": stat.n}


def _shown(stat: Stat, spec: str = ".2f") -> str:
    if stat.mean is None:
        return "-"
    if stat.ci95 is None:
        return format(stat.mean, spec)
    return f"{stat.mean:{spec}} [{stat.ci95[0]:{spec}}, {stat.ci95[1]:{spec}}]"
