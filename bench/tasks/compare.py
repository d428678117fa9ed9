"""task=compare: which of two or more sides is faster, and leaner? Waves of processes that take turns.

A wave: some processes of each side, started and compiled one after the other in an order that is drawn and balanced,
then turns; in a turn each process runs one round, next to a process of each other side. A wave gives one figure, the
mean logarithm of its pairs' ratios, and the verdict is made of the waves' figures (bench/measure/waves.py): what all
processes of a wave share, the machine's drift above all, is noise between waves. The first calls and the peaks of
memory are compared by the same waves. Not compared: accuracy, whose unit is the seed.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from bench.framework import FRAMEWORKS
from bench.measure import machine, waves
from bench.store import kinds
from bench.store.schema import PHASES, Each, Section
from bench.tasks import sameness
from bench.tasks.context import Context
from bench.tasks.settings import Common
from bench.tasks.side import Ready, Side
from bench.tasks.task import Record, Task
from bench.workers.protocol import (
    Finish,
    FirstCall,
    Keep,
    Memory,
    Refused,
    Singles,
    Turn,
    Turned,
    WarmUp,
)
from bench.workers.remote import Remote, RunEnded
from settings.errors import SettingError
from settings.progress import LEAST_SECONDS, Counter, duration
from settings.reasons import said
from settings.rules import check_choice, check_number, check_whole

SINGLES, SINGLE_SECONDS = 5, 5.0  # calls of a new process, waited for one by one: how long a round of so many will be
MEMORY_SHARE = 0.8  # of the memory there is, for all processes of a wave
COMPILE, PEAK = "compile", "peak"  # measures beside the phase
TITLES = {COMPILE: "first call", PEAK: "peak memory"}
LESS = {waves.FASTER: "less", waves.SLOWER: "more"}  # the words of what is no time
QUIET = 0.05  # of the cores' time in a round, for others; more is a disturbed round
DISTURBED = 0.1  # of the rounds; where more are, the verdict's line says so


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """conf/task/compare.yaml. b: words of the second side, None for the other framework; others: of further sides."""

    phase: str
    b: Sequence[str] | None
    others: Sequence[Sequence[str]] | None
    processes: int
    turns: int
    round_seconds: float
    warmup: int
    warm: int
    margin: float
    width: float
    budget_seconds: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task.phase", self.phase, PHASES)
        if self.b is not None:
            _words("task.b", self.b)
        if self.others is not None:
            if not isinstance(self.others, list):
                raise SettingError("task.others", self.others, "must be a list of lists of words", "see task.b.")
            for words in self.others:
                _words("task.others", words)
        for name in ("processes", "turns"):
            check_whole(f"task.{name}", getattr(self, name))
        for name in ("warmup", "warm"):
            check_whole(f"task.{name}", getattr(self, name), least=0)
        for name in ("round_seconds", "margin", "width", "budget_seconds"):
            check_number(f"task.{name}", getattr(self, name), low=0.0, open_low=True)


def _words(name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise SettingError(
            name, value, "must be a list of overrides", f"quote each: \"{name}=['model.algorithm=chunked']\"."
        )


def sides(settings: Settings, config: Mapping[str, Any]) -> list[Side]:
    """All of them, the run's own configuration first."""
    own = config["framework"]["name"]
    further = [Side(tuple(words), "task.others") for words in settings.others or []]
    if settings.b is None:
        partner = next(name for name in FRAMEWORKS if name != own)
        return [Side((), "framework", own), Side((f"framework={partner}",), "task.b", partner), *further]
    return [Side((), "task", "as given"), Side(tuple(settings.b), "task.b"), *further]


@dataclass
class Process:
    """One process of a side in a wave, and what came of its turns."""

    side: int
    worker: Remote
    started: int  # its place among the starts of its wave
    first_call: float
    memory: Mapping[str, Any]
    usual: float  # seconds of a call, about
    turned: list[Turned] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # in each turn, when it came
    seconds: list[float] = field(default_factory=list)  # a call, in each turn


def run(context: Context) -> None:
    """Compares; the record's own part is whole after each wave, however the run ends."""
    Comparison(context).run()


class Comparison:
    """The waves of one run, and its own part of the record, which grows with them."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings: Settings = context.settings
        self.sides = list(context.sides)
        self.random = np.random.default_rng(context.build.seed)
        self.processes = self.settings.processes
        self.calls: list[int] = []  # in a round, of each side; the first wave finds out
        self.figures: dict[tuple[int, str], list[float]] = {}  # of each side but the first, and measure: the waves'
        self.begin = time.monotonic()
        self.own: dict[str, Any] = {
            "phase": self.settings.phase,
            "margin": self.settings.margin,
            "sides": [_described(side) for side in self.sides],
            "sameness": [],
            "waves": [],
            "verdicts": [],
            "disturbed": None,
            "sentence": None,
        }
        context.record["own"] = self.own

    def run(self) -> None:
        self.own["sameness"] = sameness.found(self.context)
        self.begin = time.monotonic()  # a certificate is kept, and made once
        with Counter(None, "wave") as bar:
            while True:
                begun = time.monotonic()
                self._wave(bar)
                bar.update()
                now = time.monotonic()
                if self._is_enough() or now - self.begin + (now - begun) > self.settings.budget_seconds:
                    break
                if bar.due(LEAST_SECONDS):
                    bar.voice.say(self._so_far(now))

    # A wave.

    def _wave(self, bar: Counter) -> None:
        begin = time.monotonic()
        alive = self._started(bar)
        starting = time.monotonic() - begin
        with bar.voice.during(lambda: self._where(alive)):
            for _ in range(self.settings.turns):
                self._turn(alive)
                if bar.due():
                    bar.voice.say(self._where(alive))
        for process in alive:
            self._asked(process, Finish())
        self.context.dismiss([process.worker for process in alive])
        entry = {"starting_seconds": starting, "seconds": time.monotonic() - begin}
        self.own["waves"].append({**entry, "processes": [self._entry(process) for process in alive]})
        self._judge(alive)

    def _started(self, bar: Counter) -> list[Process]:
        """The wave's processes; each compiles while the others are idle."""
        alive: list[Process] = []
        number = len(self.own["waves"])
        for group in range(self.settings.processes):
            if group >= self.processes:
                break
            for side in self._order(number, group):
                label = self.sides[side].label
                with bar.voice.during(f"wave {number + 1}: starting {label}"):
                    alive.append(self._process(side, len(alive)))
            if number == group == 0 and not self._has_room(alive):
                self.processes = 1
                if self.settings.processes > 1:
                    self.context.note("one process of each side a wave, as the memory holds no more")
        if not self.calls:
            self.calls = self._calls(alive)
        for process in alive:
            self._asked(process, Keep())
        return alive

    def _order(self, wave: int, group: int) -> Sequence[int]:
        """In which the sides start: drawn, and turned round the next time, so that who comes first is balanced."""
        if (wave * self.processes + group) % 2 == 0:
            self._drawn = self.random.permutation(len(self.sides))
            return self._drawn.tolist()
        return self._drawn[::-1].tolist()

    def _process(self, side: int, started: int) -> Process:
        ready, phase = self.sides[side], self.settings.phase
        try:
            worker = self.context.start(ready.build, recorded=not started, command=ready.command)
            self.context.begin(worker)
            (first,) = worker.ask(FirstCall(phase)).samples
            worker.ask(WarmUp(phase, self.settings.warmup))
            usual = statistics.median(worker.ask(Singles(phase, SINGLES, SINGLE_SECONDS)).samples)
            memory = worker.ask(Memory()).section
        except Refused as error:
            raise RunEnded("failed", f"{ready.label}: {phase} cannot be compared: {said(error)}") from error
        except RunEnded as error:
            raise RunEnded(error.status, f"{ready.label}: {said(error)}", error.trace) from error
        return Process(side, worker, started, first, memory, usual)

    def _has_room(self, alive: Sequence[Process]) -> bool:
        """Whether another process of each side would fit beside these."""
        taken = sum((one.memory["peak_bytes"] or 0) + (one.memory["baseline_bytes"] or 0) for one in alive)
        gpu = next((one.worker.seen.built.gpu for one in alive if one.worker.seen.built is not None), None)
        there = (gpu or {}).get("memory_bytes") or machine.memory_bytes()
        return self.settings.processes * taken <= MEMORY_SHARE * there

    def _calls(self, alive: Sequence[Process]) -> list[int]:
        """In a round of each side. Sides with the same request have as many; planted work comes to whole calls."""
        counts: list[int] = []
        unit = math.lcm(*(Fraction(side.planted).limit_denominator(1000).denominator for side in self.sides))
        for place, side in enumerate(self.sides):
            alike = next(i for i, other in enumerate(self.sides) if other.build == side.build)
            if alike < place:
                counts.append(counts[alike])
                continue
            usual = statistics.median(one.usual for one in alive if one.side == place)
            counts.append(unit * max(1, round(self.settings.round_seconds / usual / unit)))
        return counts

    def _turn(self, alive: Sequence[Process]) -> None:
        """A round of each process, in groups with one of each side; who meets whom, and in which order, is drawn."""
        columns = [[one for one in alive if one.side == side] for side in range(len(self.sides))]
        mixed = [[column[i] for i in self.random.permutation(len(column))] for column in columns]
        place = 0
        for group in zip(*mixed, strict=True):
            for number in self.random.permutation(len(group)):
                process = group[number]
                calls = self.calls[process.side]
                more = round(calls * self.sides[process.side].planted)
                turned = self._asked(process, Turn(self.settings.phase, self.settings.warm, calls, more))
                process.turned.append(turned)
                process.seconds.append(turned.seconds / calls)
                process.places.append(place)
                place += 1

    def _asked(self, process: Process, request: Any) -> Any:
        try:
            return process.worker.ask(request)
        except RunEnded as error:
            raise RunEnded(error.status, f"{self.sides[process.side].label}: {said(error)}", error.trace) from error

    # What it says.

    def _judge(self, alive: Sequence[Process]) -> None:
        """The wave's figures, and the verdicts as of now."""
        first = [one for one in alive if one.side == 0]
        for place in range(1, len(self.sides)):
            own = [one for one in alive if one.side == place]
            for measure, ratios in self._ratios(first, own).items():
                self.figures.setdefault((place, measure), []).append(waves.share(ratios))
        self.own["verdicts"] = [
            {
                "side": self.sides[place].label,
                "measure": measure,
                **asdict(waves.verdict(figures, self.settings.margin)),
            }
            for (place, measure), figures in self.figures.items()
        ]
        self.own["disturbed"] = _disturbed(self.own["waves"], self._cores())
        self.own["sentence"] = self._sentences()

    def _ratios(self, first: Sequence[Process], own: Sequence[Process]) -> dict[str, list[float]]:
        """Of each measure the pairs' ratios: in each turn those who met."""
        seconds = []
        for turn in range(self.settings.turns):
            met = [sorted(column, key=lambda one: one.places[turn]) for column in (first, own)]
            seconds += [two.seconds[turn] / one.seconds[turn] for one, two in zip(*met, strict=True)]
        found = {self.settings.phase: seconds}
        pairs = list(zip(first, own, strict=True))
        found[COMPILE] = [two.first_call / one.first_call for one, two in pairs]
        peaks = [(one.memory["peak_bytes"], two.memory["peak_bytes"]) for one, two in pairs]
        if all(one and two for one, two in peaks):
            found[PEAK] = [two / one for one, two in peaks]
        return found

    def _is_enough(self) -> bool:
        count = len(self.own["waves"])
        if not waves.is_look(count):
            return False
        found = [one for one in self._verdicts() if one["measure"] == self.settings.phase]
        return count >= max(waves.LOOKS) or all(
            one["low"] is not None and (one["high"] - one["low"]) / one["ratio"] < self.settings.width for one in found
        )

    def _verdicts(self) -> list[dict[str, Any]]:
        return list(self.own["verdicts"])

    def _sentences(self) -> str:
        own = {one["side"]: one for one in self.own["sameness"]}
        against = self.sides[0].label
        lines = [beside(self._verdicts(), side.label, against, self.settings.phase) for side in self.sides[1:]]
        for one in self._verdicts():
            if one["measure"] == self.settings.phase:
                line = sentence(one, against, self.settings.phase, self.settings.margin)
                lines.append(line + _aside(own.get(one["side"]), self.own["disturbed"]))
        return "\n".join(lines)

    def _cores(self) -> int:
        return int(self.sides[0].build.threads)

    def _where(self, alive: Sequence[Process]) -> str:
        turn = min((len(one.turned) for one in alive), default=0)
        return f"wave {len(self.own['waves']) + 1}: turn {turn} of {self.settings.turns}"

    def _so_far(self, now: float) -> str:
        parts = []
        for one in self._verdicts():
            if one["measure"] == self.settings.phase:
                bounds = "" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]"
                parts.append(f"{one['side']} {one['ratio']:.3f}{bounds}")
        left = duration(self.settings.budget_seconds - (now - self.begin))
        return f"wave {len(self.own['waves'])}: {', '.join(parts)}, at most {left} left"

    def _entry(self, process: Process) -> dict[str, Any]:
        beside = [one.beside for one in process.turned]
        return {
            "side": self.sides[process.side].label,
            "started": process.started + 1,
            "calls": self.calls[process.side],
            "first_call_seconds": process.first_call,
            "peak_bytes": process.memory["peak_bytes"],
            "baseline_bytes": process.memory["baseline_bytes"],
            "seconds": process.seconds,
            "round_seconds": [one.seconds for one in process.turned],
            "places": [place + 1 for place in process.places],
            "faults": [one.faults for one in beside],
            "switches": [one.switches for one in beside],
            "others_seconds": [one.others_seconds for one in beside],
            "stolen_seconds": [one.stolen_seconds for one in beside],
            "waiting_seconds": [one.waiting_seconds for one in process.turned],
            "waited_seconds": [one.waited_seconds for one in process.turned],
        }


def sentence(verdict: Mapping[str, Any], against: str, phase: str, margin: float) -> str:
    """'jax is faster than torch: its train step takes 0.612 of the time [0.597, 0.628], 95 %, 6 waves.'"""
    side, what = verdict["side"], phase.replace("_", " ")
    count = f"{verdict['waves']} wave{'s' * (verdict['waves'] != 1)}"
    bounds = f"{verdict['ratio']:.3f} of the time"
    if verdict["low"] is not None:
        bounds += f", 95 % interval {verdict['low']:.3f} to {verdict['high']:.3f}"
    told = f"its {what} takes {bounds}, {count}"
    match verdict["word"]:
        case waves.EQUAL:
            return f"{side} is equal to {against} within {100 * margin:g} %: {told}"
        case waves.UNKNOWN:
            more = verdict["more"]
            advice = f"about {more} more would tell" if more is not None else f"{waves.MOST_WAVES} would not tell"
            return f"{side} cannot be told from {against}: {told}; {advice}"
        case word:
            return f"{side} is {word} than {against}: {told}"


def beside(verdicts: Sequence[Mapping[str, Any]], side: str, against: str, phase: str) -> str:
    """'jax against torch: first call 1.31 (1.25 to 1.37), slower; peak memory 0.872 (0.861 to 0.884), less.'"""
    parts = []
    for one in verdicts:
        if one["side"] == side and one["measure"] != phase:
            bounds = "" if one["low"] is None else f" ({one['low']:.3g} to {one['high']:.3g})"
            title, word = TITLES[one["measure"]], one["word"]
            parts.append(
                f"{title} {one['ratio']:.3g}{bounds}, {LESS.get(word, word) if one['measure'] == PEAK else word}"
            )
    return f"{side} against {against}: {'; '.join(parts)}"


def _aside(same: Mapping[str, Any] | None, disturbed: float | None) -> str:
    asides = []
    if same is not None and same["same"] is not True:
        verb = (
            "they compute different things" if same["same"] is False else "whether they compute the same is not known"
        )
        asides.append(f"{verb}: {same['says']}")
    if disturbed is not None and disturbed > DISTURBED:
        asides.append(f"the machine was not quiet in {disturbed:.0%} of the rounds")
    return f" ({'; '.join(asides)})" if asides else ""


def _disturbed(found: Sequence[Mapping[str, Any]], cores: int) -> float | None:
    """The share of rounds in which others took more than QUIET of the cores' time; None where it is not known."""
    rounds = []
    for process in itertools.chain.from_iterable(wave["processes"] for wave in found):
        taken = zip(process["others_seconds"], process["stolen_seconds"], process["round_seconds"], strict=True)
        for others, stolen, seconds in taken:
            if others is not None and seconds > 0:
                # The kernel's hundredths of a second: one a core is nothing.
                rounds.append((others + (stolen or 0.0) - 0.01 * cores) / (cores * seconds) > QUIET)
    return sum(rounds) / len(rounds) if rounds else None


def _described(side: Ready) -> dict[str, Any]:
    return {
        "label": side.label,
        "words": list(side.words),
        "model": side.build.model["name"],
        "framework": side.build.framework,
        "compile": side.build.compile,
        "precision": side.build.precision,
        "threads": side.build.threads,
        "code": side.code,
        "planted": side.planted,
    }


def _work(settings: Settings, sequences: int) -> str:
    return f"waves of {settings.processes} processes a side in about {settings.budget_seconds:g} s"


def _said(record: Record) -> str | None:
    return (record.get("own") or {}).get("sentence")


_AMOUNTS = kinds.list_of(kinds.amount, nulls=True)
_PROCESS: Section = {
    "side": kinds.name,
    "started": kinds.count,
    "calls": kinds.count,
    "first_call_seconds": kinds.amount,
    "peak_bytes": kinds.whole,
    "baseline_bytes": kinds.whole,
    **dict.fromkeys(("seconds", "round_seconds"), kinds.list_of(kinds.amount)),
    "places": kinds.list_of(kinds.count),
    **dict.fromkeys(("faults", "switches"), kinds.list_of(kinds.whole)),
    **dict.fromkeys(("others_seconds", "stolen_seconds", "waiting_seconds", "waited_seconds"), _AMOUNTS),
}
SECTIONS: Section = {
    "phase": kinds.one_of(*PHASES),
    "margin": kinds.bound,
    "sides": Each(
        {
            "label": kinds.name,
            "words": kinds.list_of(kinds.text),
            **dict.fromkeys(("model", "framework", "compile", "precision"), kinds.name),
            "threads": kinds.count,
            "code": kinds.name,
            "planted": kinds.amount,
        }
    ),
    "sameness": Each(dict(sameness.SECTION)),
    "waves": Each(
        {"starting_seconds": kinds.amount, "seconds": kinds.amount, "processes": Each(_PROCESS)},
    ),
    "verdicts": Each(
        {
            "side": kinds.name,
            "measure": kinds.name,
            "word": kinds.one_of(waves.EQUAL, waves.FASTER, waves.SLOWER, waves.UNKNOWN),
            "ratio": kinds.amount,
            "low": kinds.amount,
            "high": kinds.amount,
            "waves": kinds.count,
            "more": kinds.count,
        }
    ),
    "disturbed": kinds.share,
    "sentence": kinds.text,
}
LOOKING = frozenset({"processes", "turns", "round_seconds", "warmup", "warm", "width", "budget_seconds"})
TASK = Task(Settings, run, exclusive=True, looking=LOOKING, sections=SECTIONS, work=_work, sides=sides, sentence=_said)
