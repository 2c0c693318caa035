"""A release's life: installed, upgraded, rolled back, removed; each shown first and waited for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

from assay.errors import AssayError, FailedPrecondition, NotFound
from assay.platform import ownership
from assay.platform.api import Cluster, Object
from assay.platform.diff import Change, changes, creations
from assay.platform.helm import Helm, Revision
from assay.platform.preflight import Plan
from assay.platform.readiness import Listener, Wait, Watch, read_parts
from assay.platform.records import AWAITED, Records
from assay.platform.trouble import Trouble, troubles
from assay.platform.workloads import Rendered

# As Helm describes what a rollback made.
ROLLBACK = re.compile(r"Rollback to (\d+)")


class NotReady(FailedPrecondition):
    """A release did not become ready. rolled_back: to which revision; wait, served, why: what was seen meanwhile."""

    def __init__(self, message: str, watch: Watch, why: Sequence[Trouble], rolled_back: int | None = None) -> None:
        super().__init__(message, reason="NOT_READY")
        self.watch = watch
        self.wait = watch.seen
        self.served = frozenset(watch.served)
        self.why = tuple(why)
        self.rolled_back = rolled_back


@dataclass(frozen=True)
class Prepared:
    """What is going to be done, before anything is. base: the revision that serves now, None where there is none."""

    objects: tuple[Object, ...]
    changes: tuple[Change, ...]
    base: Revision | None = None

    @property
    def differs(self) -> bool:
        return any(change.verb != "same" for change in self.changes)


class Release:
    """One release of one plan. Whatever it does, it does in a namespace that is the release's own."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self.plan = plan
        self.target = plan.target
        self.cluster = cluster
        self.helm = Helm(plan.target)
        self.records = Records(cluster, plan.target)

    def prepare_install(self) -> Prepared:
        """Raises FailedPrecondition: the namespace is another's, the release is there, or the server refuses."""
        namespace = ownership.read_namespace(self.cluster, self.target.namespace)
        decided = ownership.claim(self.cluster, self.target, namespace)
        if decided.state == "foreign":
            raise FailedPrecondition(f"namespace {decided.why}; {decided.remedy}", reason="FOREIGN_NAMESPACE")
        if self.helm.history():
            raise FailedPrecondition(
                f"the release {self.target.release} is there already; use `assay platform upgrade`"
            )
        new = self.helm.dry_run(self.plan.chart, self.plan.values, upgrade=False)
        found = creations(new) if namespace is None else changes(self.cluster, self.target.namespace, [], new)
        return Prepared(tuple(new), tuple(found))

    def install(self, prepared: Prepared, timeout_s: float, on_parts: Listener) -> Wait:
        """Takes the namespace, installs and waits. Raises NotReady; what is there then stays, to be looked at."""
        made = ownership.take(self.cluster, self.target)
        try:
            # Only now can the server be asked about objects in a namespace that was not there.
            changes(self.cluster, self.target.namespace, [], prepared.objects)
        except AssayError:
            if made:
                self.cluster.delete(f"/api/v1/namespaces/{self.target.namespace}")
            raise
        run = uuid4().hex
        return self._carried_out(
            lambda: self.helm.install(self.plan.chart, self.plan.values, timeout_s=timeout_s, labels={AWAITED: run}),
            prepared.objects, timeout_s, on_parts, "see `assay platform status`, or `assay platform uninstall` it", run,
        )  # fmt: skip

    def prepare_upgrade(self) -> Prepared:
        """Raises NotFound where there is no release, FailedPrecondition where the namespace is not its own."""
        deployed, base = self._serving()
        new = self.helm.dry_run(self.plan.chart, self.plan.values, upgrade=True)
        old = self.helm.manifest(deployed.number if deployed else None)
        found = changes(self.cluster, self.target.namespace, old, new)
        return Prepared(tuple(new), tuple(found), base)

    def upgrade(self, prepared: Prepared, timeout_s: float, on_parts: Listener) -> Wait:
        """Upgrades and waits; where it does not get ready, rolls back to what served before and raises NotReady.

        Where Helm refuses before it has made a revision nothing is rolled back: its error is raised as it is.
        """
        run = uuid4().hex
        try:
            return self._carried_out(
                lambda: self.helm.upgrade(
                    self.plan.chart, self.plan.values, timeout_s=timeout_s, labels={AWAITED: run}
                ),
                prepared.objects, timeout_s, on_parts, "", run,
            )  # fmt: skip
        except NotReady as failed:
            if prepared.base is None:  # nothing has ever served
                raise
            self._bring_back(prepared.base.number, run, failed, timeout_s, on_parts)

    def _bring_back(self, number: int, run: str, failed: NotReady, timeout_s: float, on_parts: Listener) -> NoReturn:
        """Rolls back what `run` made, unless another helm has made a revision since."""
        watch = failed.watch
        try:
            newest = self.helm.history()[-1]
            if self.records.awaited(run)[:1] != [newest.number]:
                raise FailedPrecondition(f"another helm has made revision {newest.number} since; look at that one")
            before = Rendered(self.helm.manifest(number))
            watch = Watch(self.cluster, self.target, before, on_parts, served=failed.served)
            watch.while_running(lambda: self.helm.rollback(number, timeout_s=timeout_s))
        except AssayError as error:
            message = f"{failed.message}; and revision {number} could not be brought back: {error.message}"
            raise NotReady(message, watch, failed.why) from error
        after = watch.until_ready(timeout_s)
        gaps = sorted({*failed.wait.gaps, *after.gaps})
        kept = "which served all along" if failed.served else "which had not served before either"
        if gaps:
            kept = f"meanwhile {', '.join(gaps)} did not serve"
        busy = ", ".join(f"{part.name} ({part.note})" for part in after.missing)
        state = f"; not settled yet: {busy}" if busy else ""
        message = f"{failed.message}; rolled back to revision {number}, {kept}{state}"
        raise NotReady(message, watch, failed.why, rolled_back=number) from None

    def prepare_rollback(self, revision: int | None) -> Prepared:
        """revision: None for the newest that got ready before the present one and is another than it."""
        ownership.require_ours(self.cluster, self.target)
        history = self.helm.history()
        if not history:
            raise NotFound(f"there is no release {self.target.release} in namespace {self.target.namespace}")
        present = _origin(history[-1], history)
        served = [each for each in self._ready_ones(history[:-1]) if _origin(each, history) != present]
        chosen = [each for each in history if each.number == revision] if revision else served[-1:]
        if not chosen:
            known = ", ".join(str(each.number) for each in served) or "none"
            raise NotFound(f"there is no earlier revision {revision or 'to go back to'}; those that got ready: {known}")
        new = self.helm.manifest(chosen[0].number)
        found = changes(self.cluster, self.target.namespace, self.helm.manifest(), new)
        return Prepared(tuple(new), tuple(found), chosen[0])

    def rollback(self, prepared: Prepared, timeout_s: float, on_parts: Listener) -> Wait:
        base = prepared.base
        assert base is not None
        return self._carried_out(
            lambda: self.helm.rollback(base.number, timeout_s=timeout_s),
            prepared.objects, timeout_s, on_parts, "see `assay platform status`",
        )  # fmt: skip

    def _serving(self) -> tuple[Revision | None, Revision | None]:
        """What Helm calls deployed, and the newest that got ready or else that one; None where none ever was.

        FailedPrecondition where another Helm is at work.
        """
        ownership.require_ours(self.cluster, self.target)
        history = self.helm.history()
        if history and history[-1].status.startswith("pending"):
            raise FailedPrecondition(
                f"revision {history[-1].number} is {history[-1].status}: another helm is at work, or was killed; wait, "
                "or roll back with `assay platform rollback`"
            )
        if not history:
            raise NotFound(
                f"there is no release {self.target.release} in {self.target.namespace}; use `assay platform install`"
            )
        deployed = next((each for each in reversed(history) if each.status == "deployed"), None)
        return deployed, next(reversed(self._ready_ones(history)), deployed)

    def _ready_ones(self, history: Sequence[Revision]) -> list[Revision]:
        """Those that were seen ready, and others' of which nobody knows."""
        awaited = self.records.awaited()
        if history and history[-1].status == "deployed" and (newest := history[-1].number) in awaited:
            # It may have got ready after whoever waited had gone.
            parts = read_parts(self.cluster, self.target, Rendered(self.helm.manifest(newest)))
            if all(part.done for part in parts):
                self.records.settle(newest)
                awaited.remove(newest)
        return [each for each in history if each.status in ("superseded", "deployed") and each.number not in awaited]

    def _carried_out(
        self,
        act: Callable[[], None],
        objects: Sequence[Object],
        timeout_s: float,
        on_parts: Listener,
        then: str,
        run: str = "",
    ) -> Wait:
        """Runs Helm and waits for all parts; NotReady with the reasons otherwise. run: the mark of what `act` makes."""
        watch = Watch(self.cluster, self.target, Rendered(objects), on_parts)
        try:
            watch.while_running(act)
        except AssayError as error:
            if run and self._made_nothing(run):
                raise
            why = troubles(self.cluster, self.target)
            raise NotReady(_told(error.message, why, then), watch, why) from error
        seen = watch.until_ready(timeout_s)
        if not seen.ready:
            why = troubles(self.cluster, self.target)
            names = ", ".join(f"{part.name} ({part.ready} of {part.wanted})" for part in seen.missing)
            state = "; ".join(each for each in (names, seen.unseen) if each)
            message = _told(f"not ready within {timeout_s:.0f} s: {state}", why, then)
            raise NotReady(message, watch, why)
        if run:
            with suppress(AssayError):  # the next look at it finds it ready, too
                for revision in self.records.awaited(run)[:1]:
                    self.records.settle(revision)
        return seen

    def _made_nothing(self, run: str) -> bool:
        """Whether Helm refused before it made a revision; False where that cannot be told."""
        try:
            return not self.records.awaited(run)
        except AssayError:
            return False


def _origin(revision: Revision, history: Sequence[Revision]) -> int:
    """The revision that this one is, by way of rollbacks."""
    by_number = {each.number: each for each in history}
    while (matched := ROLLBACK.fullmatch(revision.description)) and int(matched[1]) in by_number:
        revision = by_number[int(matched[1])]
    return int(matched[1]) if matched else revision.number


def _told(message: str, why: Sequence[Trouble], then: str) -> str:
    parts = [message, *(str(each) for each in why[:3]), then]
    return "; ".join(part for part in parts if part)
