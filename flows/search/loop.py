"""The loop of a sweep: ask Optuna for designs, compute their scores, tell Optuna what they reached.
No design is evaluated twice, and what a killed process had asked for is taken up where it was."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from flows.designs.design import Design, parse
from flows.designs.plan import plan_of
from flows.execution.protocols import Session
from flows.execution.schedule import FAILED, SKIPPED
from flows.search.candidate import ANSWERED, Candidate, State
from flows.search.config import Config
from flows.search.halving import WHOLE, Halving, at
from flows.search.trials import DESIGN, HOURS, LOST, UNFIT

if TYPE_CHECKING:
    import optuna

_REDRAWS = 20  # proposals in a row that are no new design, before the space's next one is taken instead


class Costs(Protocol):
    """Knows what designs cost (`flows.costs.prices.DesignCosts`)."""

    def look(self) -> None:
        """Take in what was recorded meanwhile."""

    def alone(self, design: Design) -> float:
        """Accelerator hours of a design with nothing there."""


class Sweep:
    """One study and the designs that it has asked for.

    Args:
        trials: distinct designs that the study shall have evaluated in all, earlier sessions included.
        workers: designs of the first rung in work at the same time; those promoted are in work together.
        halving: evaluate by rungs; None: every design on all of its data.
        fits: None where a design fits into the memory, else why not.
        in_order: take the designs in the space's order and never ask the sampler.
    """

    def __init__(
        self,
        session: Session,
        study: "optuna.Study",
        config: Config,
        trials: int,
        workers: int,
        costs: Costs,
        halving: Halving | None = None,
        fits: Callable[[Design], str | None] = lambda design: None,
        in_order: bool = False,
    ) -> None:
        self.session, self.study, self.config, self.costs = session, study, config, costs
        self.halving, self.fits, self.workers = halving, fits, workers
        self.fractions = halving.fractions if halving else [WHOLE]
        self.on_complete: Callable[[Design], None] = lambda design: None
        # With a design as a rung trained it, once nothing will go on from there.
        self.on_pruned: Callable[[Design], None] = lambda variant: None
        self._redraws = 0 if in_order else _REDRAWS
        self._reached = [0] * len(self.fractions)  # designs by rung, the first left out
        self._candidates: dict[str, Candidate] = {}
        self._restore()
        self._wanted = min(trials, self._possible())
        self._take_up()

    def advance(self) -> None:
        """Tell the study the scores that are there and ask for new designs, until something is left to compute."""
        while True:
            answered, asked = self._tell(), self._ask()
            if not answered and not asked and not self._promote():
                return

    def in_state(self, *states: State) -> list[Candidate]:
        """The designs that stand there, in the order of asking."""
        return [candidate for candidate in self._candidates.values() if candidate.state in states]

    @property
    def evaluated(self) -> int:
        """Distinct designs with an answer, if only of the first rung."""
        return len(self.in_state(*ANSWERED))

    # Earlier sessions

    def _restore(self) -> None:
        """Read from the study's trials where each design stands; one may have several trials."""
        from optuna.trial import TrialState

        rungs: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            name = trial.user_attrs.get(DESIGN)
            steps = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
            if trial.state == TrialState.RUNNING:
                self._restore_open(trial, name, steps)
            elif name and trial.state == TrialState.COMPLETE:
                self._restored(name, State.COMPLETE).values = [trial.values[0]]
            elif name and trial.state == TrialState.PRUNED and UNFIT in trial.user_attrs:
                if name not in self._candidates and self.fits(parse(name)):
                    self._restored(name, State.UNFIT)
            elif name and trial.state == TrialState.PRUNED:
                self._restored(name, State.PRUNED).values = steps
            if name:
                rungs[name] = max(rungs.get(name, 0), len(steps))
        for answered in rungs.values():
            for rung in range(1, min(answered, len(self._reached))):
                self._reached[rung] += 1

    def _restore_open(self, trial: "optuna.trial.FrozenTrial", name: str | None, steps: list[float]) -> None:
        """A trial whose process was killed over it."""
        from optuna.trial import Trial, TrialState

        proposed = Trial(self.study, trial._trial_id)
        if not name:  # killed before it was noted what it proposes
            proposed.set_user_attr(LOST, True)
            self.study.tell(trial.number, state=TrialState.FAIL)
            return
        known = self._candidates.get(name)
        if known is None or known.state == State.UNFIT:
            whole = len(steps) == len(self.fractions)  # killed before it told its last rung's score
            state = State.COMPLETE if whole else State.WAITING if steps else State.RUNNING
            known = self._restored(name, state)
            known.values = steps
        known.trials.append(proposed)

    def _restored(self, name: str, state: State) -> Candidate:
        known = self._candidates.setdefault(name, Candidate(parse(name)))
        known.state = state
        return known

    def _possible(self) -> int:
        """Designs that the study can have: `sweep.device_gb` may have changed, and what earlier sessions have taken up
        counts whether or not it fits now."""
        known = self._candidates
        return sum(
            known[design.name].state != State.UNFIT if design.name in known else self.fits(design) is None
            for design in self.config.space.designs()
        )

    def _take_up(self) -> None:
        """Go on where killed sessions were: tell what they had, compute what they computed, as far as it is wanted."""
        for candidate in self.in_state(State.COMPLETE):
            self._tell_complete(candidate)
        for candidate in self.in_state(State.PRUNED):
            self._tell_pruned(candidate)
        room = max(self._wanted - self.evaluated, 0)
        for place, candidate in enumerate(self.in_state(State.RUNNING)):
            if place < room:
                self._compute(candidate)
            else:  # its trial stays open, for a session that wants more designs
                del self._candidates[candidate.design.name]

    # Scores that are there

    def _tell(self) -> bool:
        """Whether any score was there."""
        answered = False
        for candidate in self.in_state(State.RUNNING):
            variant = at(candidate.design, self.fractions[candidate.rung])
            state = self.session.result.states.get(f"score/{variant.name}")
            if state is None:
                continue
            answered = True
            if state in (FAILED, SKIPPED):
                self._fail(candidate)
            else:
                self._answer(candidate, float(self.session.metrics(f"score/{variant.name}")[self.config.metric]))
        return answered

    def _fail(self, candidate: Candidate) -> None:
        from optuna.trial import TrialState

        candidate.become(State.FAILED)
        for trial in candidate.trials:
            self.study.tell(trial, state=TrialState.FAIL)
        if len(self.in_state(State.FAILED)) >= self.config.max_failures:
            self._wanted = self.evaluated  # enough: no new ones, those in work end

    def _answer(self, candidate: Candidate, accuracy: float) -> None:
        candidate.values.append(accuracy)
        if self.halving:
            for trial in candidate.trials:
                trial.report(accuracy, candidate.rung - 1)
        if candidate.rung < len(self.fractions):
            candidate.become(State.WAITING)
            return
        candidate.become(State.COMPLETE)
        self.costs.look()
        self._tell_complete(candidate)
        self.on_complete(candidate.design)
        if len(self.fractions) > 1:
            self.on_pruned(at(candidate.design, self.fractions[-2]))

    def _tell_complete(self, candidate: Candidate) -> None:
        for trial in candidate.trials:
            hours = self.costs.alone(candidate.design)
            trial.set_user_attr(HOURS, hours)
            both = {"accuracy": candidate.values[-1], "hours": hours}
            self.study.tell(trial, [both[objective] for objective in self.config.objectives])
        candidate.trials.clear()

    def _tell_pruned(self, candidate: Candidate) -> None:
        from optuna.trial import TrialState

        for trial in candidate.trials:
            self.study.tell(trial, state=TrialState.PRUNED)
        candidate.trials.clear()

    # New designs

    def _ask(self) -> bool:
        """Whether any new design is in work."""
        asked, redraws = False, 0
        while self._has_room():
            if redraws >= self._redraws:
                unseen = next(d for d in self.config.space.designs() if d.name not in self._candidates)
                self.study.enqueue_trial(self.config.space.params_of(unseen))
            trial = self.study.ask()
            design = self.config.space.suggest(trial)
            trial.set_user_attr(DESIGN, design.name)
            new = self._propose(trial, design)
            asked, redraws = asked or new, 0 if new else redraws + 1
        return asked

    def _has_room(self) -> bool:
        running = len(self.in_state(State.RUNNING))
        return running < self.workers and self.evaluated + running < self._wanted

    def _propose(self, trial: "optuna.Trial", design: Design) -> bool:
        """Whether a proposed design is new work; where it is known the sampler learns at once what is known of it."""
        from optuna.trial import TrialState

        known = self._candidates.get(design.name)
        if known is None or known.state == State.UNFIT:
            return self._begin(trial, design)
        if known.state == State.FAILED:
            self.study.tell(trial, state=TrialState.FAIL)
            return False
        known.trials.append(trial)
        if known.state == State.COMPLETE:
            self._tell_complete(known)
            return False
        for rung, value in enumerate(known.values):
            trial.report(value, rung)
        if known.state == State.PRUNED:
            self._tell_pruned(known)
        return False

    def _begin(self, trial: "optuna.Trial", design: Design) -> bool:
        from optuna.trial import TrialState

        if why := self.fits(design):
            self._candidates[design.name] = Candidate(design, State.UNFIT)
            trial.set_user_attr(UNFIT, why)
            self.study.tell(trial, state=TrialState.PRUNED)
            return False
        self._candidates[design.name] = Candidate(design, State.RUNNING, [trial])
        self._compute(self._candidates[design.name])
        return True

    def _compute(self, candidate: Candidate) -> None:
        self.session.want(plan_of([at(candidate.design, self.fractions[candidate.rung])]))

    # Rungs

    def _promote(self) -> bool:
        """Once a rung is full: its best designs go on, the others are pruned. Whether any went on."""
        waiting = self.in_state(State.WAITING)
        if not self.halving or not waiting or self.in_state(State.RUNNING):
            return False
        rung = min(candidate.rung for candidate in waiting)
        here = [candidate for candidate in waiting if candidate.rung == rung]
        here.sort(key=lambda candidate: (-candidate.values[-1], candidate.design.name))
        room = max(self.halving.size(self._wanted, rung) - self._reached[rung], 0)
        self._go_on(here[:room], rung)
        self._prune(here[room:], rung)
        return bool(self.in_state(State.RUNNING, State.WAITING))

    def _go_on(self, best: Sequence[Candidate], rung: int) -> None:
        for candidate in best:
            self._reached[rung] += 1
            candidate.become(State.RUNNING)
            self._compute(candidate)

    def _prune(self, others: Sequence[Candidate], rung: int) -> None:
        for candidate in others:
            candidate.become(State.PRUNED)
            self.on_pruned(at(candidate.design, self.fractions[rung - 1]))
            self._tell_pruned(candidate)
