"""Write one event of a job into the rows of the metrics store. A value that is not a finite number is not measured."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedward.measures import measure_of
from fedward.metrics.values import LEFT_OUT, outcome_of, real, stage_seconds, whole, word

Event = Mapping[str, Any]
_COUNTS = ("patients", "images", "positives")
_POOLED = ("auc", "auc_low", "auc_high", *_COUNTS)
reason = word


@dataclass(frozen=True, slots=True)
class _Taking:
    """One job in the transaction that writes one of its events."""

    connection: sqlite3.Connection
    job: int
    at: float

    def site(self, name: Any) -> int:
        """Return the key of a site; a new name gets a new key."""
        self.connection.execute("INSERT OR IGNORE INTO sites (site) VALUES (?)", (str(name),))
        (key,) = self.connection.execute("SELECT key FROM sites WHERE site = ?", (str(name),)).fetchone()
        return int(key)

    def seat(self, name: Any) -> int:
        """Return the key of a site, and add a row for this site in this job."""
        key = self.site(name)
        self.connection.execute("INSERT OR IGNORE INTO seats (job, site) VALUES (?, ?)", (self.job, key))
        return key

    def set_job(self, **columns: Any) -> None:
        words = ", ".join(f"{name} = ?" for name in columns)
        self.connection.execute(f"UPDATE jobs SET {words} WHERE key = ?", (*columns.values(), self.job))

    def set_seat(self, site: int, **columns: Any) -> None:
        words = ", ".join(f"{name} = ?" for name in columns)
        values = (*columns.values(), self.job, site)
        self.connection.execute(f"UPDATE seats SET {words} WHERE job = ? AND site = ?", values)

    def count(self, site: int, **more: int) -> None:
        """Add to the counters of a seat."""
        words = ", ".join(f"{name} = {name} + ?" for name in more)
        values = (*more.values(), self.job, site)
        self.connection.execute(f"UPDATE seats SET {words} WHERE job = ? AND site = ?", values)

    def final_model(self) -> int:
        """Return the rounds that the job's final model has been through."""
        selected = self.job_value("selected")
        return int(self.job_value("rounds_done") if selected is None else selected)

    def go_on(self, *, after: str) -> None:
        """Set the job to running, if its state is ``after``."""
        self.connection.execute(
            "UPDATE jobs SET state = 'running', reason = NULL WHERE key = ? AND state = ?", (self.job, after)
        )

    def job_value(self, column: str) -> Any:
        return self.connection.execute(f"SELECT {column} FROM jobs WHERE key = ?", (self.job,)).fetchone()[0]

    def note(self, event: Event, site: int | None = None) -> None:
        kept = {key: value for key, value in event.items() if key not in ("event", "at", "site")}
        self.connection.execute(
            "INSERT INTO notes (job, site, at, kind, body) VALUES (?, ?, ?, ?, ?)",
            (self.job, site, self.at, str(event["event"]), json.dumps(kept, allow_nan=False)),
        )


def take(connection: sqlite3.Connection, job_id: str, event: Event, *, cursor: int) -> None:
    """Write one event; the caller holds the transaction.

    Args:
        connection: within a transaction that may write.
        job_id: FLARE's id of the run; a new id adds a job.
        event: event with ``event`` and ``at``.
        cursor: new value of the store's clock.
    """
    at = real(event["at"]) or 0.0
    connection.execute("INSERT OR IGNORE INTO jobs (id, started_at, updated_at) VALUES (?, ?, ?)", (job_id, at, at))
    connection.execute(
        "UPDATE jobs SET changed = ?, taken = taken + 1, updated_at = max(updated_at, ?) WHERE id = ?",
        (cursor, at, job_id),
    )
    (job,) = connection.execute("SELECT key FROM jobs WHERE id = ?", (job_id,)).fetchone()
    taking = _Taking(connection, job, at)
    _TAKEN.get(str(event["event"]), _kept)(taking, event)


def _started(taking: _Taking, event: Event) -> None:
    taking.set_job(
        name=word(event.get("job")),
        task=word(event.get("task")),
        rounds_asked=whole(event.get("rounds")),
        started_at=taking.at,
        threshold=real(event.get("threshold")),
        coverage=json.dumps(event.get("coverage")),
    )
    for site in event.get("sites") or ():
        taking.site(site)


def _admitted(taking: _Taking, event: Event) -> None:
    site = taking.seat(event["site"])
    taking.set_seat(site, declined=None)
    taking.connection.execute(
        "UPDATE sites SET version = ifnull(?, version), last_seen = max(ifnull(last_seen, 0), ?) WHERE key = ?",
        (word(event.get("fedward")), taking.at, site),
    )
    _privacy(taking, site, event.get("privacy"))


def _declined(taking: _Taking, event: Event) -> None:
    site = taking.seat(event["site"])
    taking.set_seat(site, declined=reason(event.get("reason")) or "no reason given")


def _answered(taking: _Taking, event: Event) -> None:
    site, metrics = taking.seat(event["site"]), _map(event.get("metrics"))
    sent, received = whole(event.get("sent_bytes")), whole(event.get("received_bytes"))
    taking.count(site, sent_bytes=sent or 0, received_bytes=received or 0)
    taking.connection.execute(
        "UPDATE sites SET last_seen = max(ifnull(last_seen, 0), ?) WHERE key = ?", (taking.at, site)
    )
    _privacy(taking, site, metrics.get("privacy"))
    taking.go_on(after="resuming")
    task = event.get("task")
    if task not in ("round", "validate", "final"):
        return  # a model that a site trained alone is not the job's model
    if task == "round":
        number, seconds = whole(event.get("round")) or 0, stage_seconds(event, metrics)
        taking.set_seat(site, **seconds)
        taking.connection.execute(
            "INSERT INTO parts (job, round, site, validate_s, train_s, seal_s, rest_s, patients, sent_bytes, "
            "received_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "validate_s = excluded.validate_s, train_s = excluded.train_s, seal_s = excluded.seal_s, "
            "rest_s = excluded.rest_s, patients = excluded.patients, sent_bytes = excluded.sent_bytes, "
            "received_bytes = excluded.received_bytes",
            (taking.job, number, site, *seconds.values(), whole(metrics.get("patients")), sent, received),
        )
    else:
        number = int(taking.job_value("rounds_done")) if task == "validate" else taking.final_model()
    _scores(taking, site, number, metrics, final=task == "final")


def _scores(taking: _Taking, site: int, number: int, metrics: Event, *, final: bool) -> None:
    """Write a site's numbers for the model after ``number`` rounds, as its latest values and as a point of its line."""
    scores = _map(metrics.get("scores"))
    measure = measure_of(taking.job_value("task"))
    value = real(scores.get(measure))
    ends = (real(scores.get(f"{measure}_low")), real(scores.get(f"{measure}_high")))
    losses = (real(metrics.get("loss")), real(scores.get("loss")))
    taking.set_seat(
        site,
        value=value,
        low=ends[0],
        high=ends[1],
        patients=whole(scores.get("dice_patients", scores.get("patients"))),
        images=whole(scores.get("images")),
        positives=whole(scores.get("positives")),
        suppressed=int(value is None and bool(scores.get("suppressed"))),
        hd95_mm=real(scores.get("hd95_mm")),
        validation_loss=losses[1],
        reported_at=taking.at,
        **({} if final else {"training_loss": losses[0]}),
    )
    taking.connection.execute(
        "INSERT INTO points (job, site, round, value, low, high, training_loss, validation_loss) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, low = excluded.low, "
        "high = excluded.high, training_loss = ifnull(excluded.training_loss, training_loss), "
        "validation_loss = excluded.validation_loss",
        (taking.job, site, number, value, *ends, *losses),
    )


def _round(taking: _Taking, event: Event) -> None:
    number, stages = whole(event.get("round")) or 0, _map(event.get("stages"))
    facts = (real(event.get("wall_s")), real(stages.get("wait_s")), real(stages.get("add_s")))
    taking.connection.execute(
        "INSERT OR REPLACE INTO rounds (job, round, wall_s, wait_s, add_s, patients) VALUES (?, ?, ?, ?, ?, ?)",
        (taking.job, number, *facts, whole(event.get("patients"))),
    )
    taking.set_job(rounds_done=max(number + 1, int(taking.job_value("rounds_done"))))
    took = event.get("participation")
    listed = _map(took) if took else {site: {"outcome": "accepted"} for site in event.get("sites") or ()}
    for name, part in listed.items():
        _part(taking, number, taking.seat(name), _map(part))


def _part(taking: _Taking, number: int, site: int, part: Event) -> None:
    """Write the outcome of one site in one round; count the bytes of a site whose answer was not accepted."""
    where = (taking.job, number, site)
    sent, received = whole(part.get("sent_bytes")), whole(part.get("received_bytes"))
    query = "SELECT outcome FROM parts WHERE job = ? AND round = ? AND site = ?"
    known = taking.connection.execute(query, where).fetchone()
    if known is None:
        taking.connection.execute("INSERT INTO parts (job, round, site) VALUES (?, ?, ?)", where)
        taking.count(site, sent_bytes=sent or 0, received_bytes=received or 0)
    outcome = outcome_of(part.get("outcome"))
    taking.connection.execute(
        "UPDATE parts SET outcome = ?, reason = ?, patients = ifnull(?, patients), sent_bytes = ifnull(?, sent_bytes), "
        "received_bytes = ifnull(?, received_bytes) WHERE job = ? AND round = ? AND site = ?",
        (outcome, reason(part.get("reason")), whole(part.get("patients")), sent, received, *where),
    )
    if known is not None and known[0] not in (None, LEFT_OUT):  # the round was made again by a new process
        taking.count(site, **{known[0]: -1})
    if outcome != LEFT_OUT:
        taking.count(site, **{outcome: 1})


def _pooled(taking: _Taking, event: Event) -> None:
    scores = _map(event.get("pooled"))
    taking.set_job(pooled=json.dumps({key: (whole if key in _COUNTS else real)(scores.get(key)) for key in _POOLED}))


def _suspect(taking: _Taking, event: Event) -> None:
    site = taking.seat(event["site"])
    taking.count(site, suspect=1)
    taking.note(event, site)


def _kept(taking: _Taking, event: Event) -> None:
    taking.note(event, None if event.get("site") is None else taking.site(event["site"]))


def _finished(taking: _Taking, event: Event) -> None:
    """Write the end; a site that did not measure the final model has no value, since its last is of an earlier one."""
    missing = event.get("missing")
    listed = {str(site): reason(why) for site, why in missing.items()} if isinstance(missing, Mapping) else None
    taking.set_job(state="finished", reason=None, missing=None if listed is None else json.dumps(listed))
    measured = "SELECT site FROM points WHERE job = ? AND round = ?"
    taking.connection.execute(
        f"UPDATE seats SET value = NULL, low = NULL, high = NULL WHERE job = ? AND site NOT IN ({measured})",
        (taking.job, taking.job, taking.final_model()),
    )


def _aborted(taking: _Taking, event: Event) -> None:
    """Write who aborted the job as its reason."""
    taking.set_job(state="aborted", reason=reason(event.get("by")) or reason(event.get("reason")))
    taking.note(event)


def _resumed(taking: _Taking, event: Event) -> None:
    """The job is being resumed until the first answer to its new process."""
    at = whole(event.get("round"))
    taking.set_job(state="resuming", reason=None if at is None else f"from the model after {at} rounds")
    taking.note(event)


def _paused(taking: _Taking, event: Event) -> None:
    taking.set_job(state="paused", reason=reason(event.get("reason")))
    taking.note(event)


def _unpaused(taking: _Taking, event: Event) -> None:
    taking.go_on(after="paused")
    taking.note(event)


def _privacy(taking: _Taking, site: int, facts: Any) -> None:
    reported = _map(facts)
    if "mechanism" not in reported:
        return
    mechanism = word(reported["mechanism"])
    if mechanism != "none" or taking.job_value("mechanism") is None:
        taking.set_job(mechanism=mechanism)
    if mechanism != "none":
        epsilons = {"charged": "epsilon", "spent": "spent", "cap": "epsilon_cap"}
        taking.set_seat(site, **{column: real(reported.get(key)) for column, key in epsilons.items()})


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_TAKEN: dict[str, Callable[[_Taking, Event], None]] = {
    "started": _started,
    "admitted": _admitted,
    "declined": _declined,
    "answered": _answered,
    "round": _round,
    "suspect": _suspect,
    "selected": lambda taking, event: taking.set_job(selected=whole(event.get("round"))),
    "encrypted": lambda taking, event: taking.set_job(encryption=word(event.get("scheme"))),
    "pooled": _pooled,
    "resumed": _resumed,
    "paused": _paused,
    "unpaused": _unpaused,
    "finished": _finished,
    "aborted": _aborted,
    "failed": lambda taking, event: taking.set_job(state="failed", reason=reason(event.get("reason"))),
}
