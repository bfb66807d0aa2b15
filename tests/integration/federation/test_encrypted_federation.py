"""Run encrypted jobs in a real federation; check the hospitals' results, and the traces on the wire and the server.

Five hospitals, of which most jobs have four. Their network layer is tapped just inside TLS
(``wiretap/sitecustomize.py``).
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.aggregation.fedavg import weighted_mean
from fedward.demo.compare import load_model
from fedward.demo.hospitals import FEDERATION_KEY
from fedward.demo.keys import share_key
from fedward.dicom.synthetic.hospital import HOSPITALS
from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import read_key, write_key
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.graphs.threshold import colluding_of
from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, RunKeys, read_run_keys
from fedward.encryption.masks.unmask_message import name_of_sum
from fedward.encryption.masks.upload import extra_bytes
from fedward.encryption.message import Message
from fedward.encryption.schemes import bits_of
from fedward.flare.export import export_job
from fedward.flare.server.persistor import SEALED_FILE
from fedward.flare.site.site_job import FINAL_FILE
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.metrics.store import STORE_FILE
from fedward.reporting.data.from_events import report_of
from fedward.reporting.result import read_result
from fedward.settings import JobSpec, KeyScheme, parse
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.validation.pooling.cohort_statistics import pooled_statistics
from fedward.validation.pooling.pooled import pooled_scores
from fedward.weights import MODEL_FILE, Weights, add, difference, load_weights
from tests.conftest import tiny_job_content
from tests.integration.conftest import Running, index_all, small_hospitals, started
from tests.integration.federation.test_participation import assert_stored
from tests.integration.wiretap.search import files, share_found, windows, words
from tests.support.flare.coalition import Coalition, answers, messages, opened, unlocked

pytestmark = pytest.mark.integration

OTHER = create_key("aes-ctr")
COMPLETED = "FINISHED:COMPLETED"
FOURTH, FIFTH = replace(HOSPITALS[0], site="west-house"), replace(HOSPITALS[1], site="yard-clinic")
COAST, WEST, YARD = "coast-institute", "west-house", "yard-clinic"
SITES = sorted([*(one.site for one in HOSPITALS), WEST])
THREE = [site for site in SITES if site != WEST]
FIVE = [*SITES, YARD]
PACKERS_OWN = 0.002
"""Share of a context's words that may be anywhere: SEAL packs it with zstd, whose headers and code tables two packed
keys often have in common (up to 3 words of 7,000). A leak of 120 bytes of the key would show more."""


def tiny(
    name: str, *, rounds: int, seed: int = 7, encryption: Mapping[str, Any] | None = None, **federation: Any
) -> JobSpec:
    """The tiny job in the clear, or encrypted; all sites count alike.

    By descent with momentum: AdamW makes a whole step of a gradient next to 0, and rounding may turn its sign.
    """
    content = tiny_job_content()
    content["job"] |= {"name": name, "seed": seed}
    content["federation"] |= {"rounds": rounds, "min_sites": 3, "weighting": "equal", "local_baseline": False}
    content["federation"] |= federation
    content["training"] |= {"optimizer": "SGD", "lr": 0.05}
    if encryption is not None:
        content["encryption"] = dict(encryption)
    return parse(JobSpec, content, where=name)


@dataclass(frozen=True)
class Ended:
    """A job that has run."""

    job: JobSpec
    job_id: str
    status: str
    events: list[dict[str, Any]]
    result: Path

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        chosen = [event for event in self.events if event["event"] == kind]
        return [event for event in chosen if all(event[name] == value for name, value in fields.items())]

    @property
    def rounds(self) -> list[list[str]]:
        """Return the participating sites, round by round."""
        return [event["sites"] for event in self.of("round")]

    @property
    def auc(self) -> dict[str, float]:
        """The final model's, site by site."""
        return {event["site"]: event["metrics"]["scores"]["auc"] for event in self.of("answered", task="final")}


class Tapped:
    """A federation, and all messages between its processes."""

    def __init__(self, running: Running, tap: Path, out: Path) -> None:
        self.running, self._tap, self._out = running, tap, out
        self.server, self.kits = running.kits.server, running.kits.sites
        self.keys_of: dict[tuple[str, str], RunKeys] = {}
        self.keys = {site: one.config.with_name(FEDERATION_KEY) for site, one in running.hospitals.items()}

    def run(
        self,
        job: JobSpec,
        *,
        failing: Collection[tuple[str, int]] = (),
        false: Collection[str] = (),
        sites: Sequence[str] = SITES,
        spied: Collection[str] = (),
    ) -> Ended:
        """Run a job to its end.

        Args:
            failing: sites, each with the round in which its trainer fails.
            false: sites whose trainers make a model far from the one that they should.
            sites: to which it is deployed.
            spied: hospitals whose keys of the run are copied while it runs, to ``keys_of``.
        """
        fail = self._tap / "fail" / job.job.name
        fail.mkdir(parents=True)
        for site, number in failing:
            (fail / f"{site}-{number}").touch()
        for site in false:
            (fail / f"{site}-false").touch()
        out = self._out / job.job.name
        session = self.running.session
        job_id = session.submit(export_job(job, out, sites=sites))

        def each() -> None:
            self.running.federation.check()
            for site in spied:
                found = read_run_keys(self.kits[site] / "checkpoints" / job_id / RUN_KEYS_FILE)
                if found is not None and found.secret is not None:
                    self.keys_of[job.job.name, site] = found

        status = session.wait(job_id, each=each)
        result = session.download(job_id, out / "results")
        return Ended(job, job_id, status, list(EventReader(result / EVENTS_FILE)), result)

    def wire(self, *, of: str = "*") -> list[bytes]:
        """Return the frames that the processes of one kit, by default of all, sent and received since the beginning."""
        return [path.read_bytes() for path in sorted((self._tap / "frames").glob(f"{of}-*"))]

    @property
    def held(self) -> list[bytes]:
        """All that was on the wire, and every file at the server."""
        return [*self.wire(), *files(self.server)]

    def trained(self, job: JobSpec) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Return the trainers' models as ``<site>-<round>`` -> ``start`` and ``end``; recorded in their processes."""
        found = {}
        for path in sorted((self._tap / "trained" / job.job.name).glob("*.npz")):
            with np.load(path) as file:
                found[path.stem] = {name: file[name] for name in file.files}
        return found

    @contextmanager
    def rekeyed(self, scheme: KeyScheme) -> Iterator[None]:
        """Let the hospitals share another key for a while."""
        with self.keys_put_back():
            share_key(self.running.kits, {s: one.config for s, one in self.running.hospitals.items()}, scheme=scheme)
            yield

    @contextmanager
    def keys_put_back(self) -> Iterator[None]:
        before = {site: read_key(path) for site, path in self.keys.items()}
        try:
            yield
        finally:
            for site, key in before.items():
                write_key(key, self.keys[site], replace=True)


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tapped]:
    folder = tmp_path_factory.mktemp("tapped")
    data = small_hospitals(folder / "data", like=(*HOSPITALS, FOURTH, FIFTH))
    hospitals = index_all(data, folder / "sites", tiny("index", rounds=1))
    tap = folder / "tap"
    for name in ("frames", "trained", "fail"):
        (tap / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "wiretap"))
        patch.setenv("FEDWARD_WIRETAP", str(tap))
        with started(hospitals, folder / "federation") as running:
            yield Tapped(running, tap, folder / "jobs")


@pytest.fixture(scope="module")
def clear(tapped: Tapped) -> Ended:
    return tapped.run(tiny("clear", rounds=2, must_include=SITES, min_patients=10))


@pytest.fixture(scope="module")
def encrypted(tapped: Tapped) -> Ended:
    return tapped.run(tiny("encrypted", rounds=2, encryption={"scheme": "aes-ctr"}))


@pytest.fixture(scope="module")
def kept(tapped: Tapped) -> Ended:
    """A job whose final model stays with the hospitals; in its second round of three one of them fails."""
    return tapped.run(
        tiny("kept", rounds=3, seed=11, encryption={"scheme": "aes-ctr", "open_final": False}), failing=[(COAST, 1)]
    )


@pytest.fixture(scope="module")
def masked(tapped: Tapped) -> Ended:
    """The job in the clear, masked, at three hospitals; coast sides with the server."""
    job = tiny("masked", rounds=2, seed=13, encryption={})
    return tapped.run(job, sites=THREE, spied=[COAST])


@pytest.fixture(scope="module")
def lossy(tapped: Tapped) -> Ended:
    """A masked job of four hospitals; one fails in the second round of three."""
    return tapped.run(
        tiny("lossy", rounds=3, seed=17, encryption={"open_final": False}), failing=[(WEST, 1)], spied=[COAST]
    )


@pytest.fixture(scope="module")
def five(tapped: Tapped) -> Ended:
    """A masked job of five hospitals, of which two side with the server."""
    job = tiny("five", rounds=1, seed=19, min_sites=5, encryption={"max_colluding": 2, "open_final": False})
    return tapped.run(job, sites=FIVE, spied=[COAST, WEST])


@pytest.fixture(scope="module")
def compared(tapped: Tapped) -> Ended:
    """A masked job whose models are compared; one of five hospitals sends a false one, and another sides with the
    server."""
    robust = {"aggregation": "byzsecagg", "min_sites": 5}
    return tapped.run(
        tiny("compared", rounds=2, seed=23, encryption={}, **robust), sites=FIVE, false=[WEST], spied=[COAST]
    )


@pytest.fixture(scope="module")
def few(tapped: Tapped) -> Ended:
    """One of four hospitals has another key, and one of the others fails in the second round of two."""
    with tapped.keys_put_back():
        write_key(OTHER, tapped.keys[WEST], replace=True)
        return tapped.run(tiny("few", rounds=2, encryption={"scheme": "aes-ctr"}), failing=[(COAST, 1)])


def trainers(tapped: Tapped, job: JobSpec, *, sites: Sequence[str] = SITES) -> dict[str, Trainer]:
    return {site: Trainer(job, [tapped.running.hospitals[site].manifest], site=site) for site in sites}


def in_a_loop(
    tapped: Tapped, job: JobSpec, *, failing: Collection[tuple[str, int]] = (), sites: Sequence[str] = SITES
) -> Weights:
    """The model that the same hospitals make without a federation."""
    there, weights = trainers(tapped, job, sites=sites), initial_weights(job)
    for number in range(job.federation.rounds):
        updates = {
            site: (difference(trainer.train(weights, round_number=number).weights, weights), 1.0)
            for site, trainer in there.items()
            if (site, number) not in failing
        }
        weights = add(weights, weighted_mean(updates))
    return weights


def assert_close(found: Weights, due: Weights, *, within: float) -> None:
    assert set(found) == set(due)
    for name, array in due.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, atol=within, rtol=0, err_msg=name)


def assert_without(held: Collection[bytes], key: FederationKey) -> None:
    secret = key.secret
    for form in (secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
        assert not any(form in blob for blob in held)
    if key.context:
        assert share_found(words(key.context), [key.context]) == 1
        assert share_found(words(key.context), held) < PACKERS_OWN


def flat(weights: Weights) -> NDArray[np.float32]:
    return np.concatenate([np.ravel(weights[name]) for name in sorted(weights)])


def test_an_encrypted_job_makes_the_model_of_the_job_in_the_clear(
    tapped: Tapped, encrypted: Ended, clear: Ended
) -> None:
    assert (encrypted.status, clear.status) == (COMPLETED, COMPLETED), [encrypted.events, clear.events]
    assert encrypted.rounds == clear.rounds == [SITES, SITES]
    found, due = load_model(encrypted.result / MODEL_FILE), load_model(clear.result / MODEL_FILE)
    assert_close(found, due, within=1e-4)
    assert not all(np.array_equal(found[name], due[name]) for name in due), "it came another way"
    assert set(encrypted.auc) == set(clear.auc) == set(SITES)
    for site, auc in encrypted.auc.items():
        assert auc == pytest.approx(clear.auc[site], abs=0.002)
    assert not encrypted.of("clipped") and not encrypted.of("dropped")


def test_its_events_and_its_report_say_how_it_was_encrypted_and_what_was_opened(
    tapped: Tapped, encrypted: Ended
) -> None:
    key = read_key(tapped.keys[COAST])
    (how,) = encrypted.of("encrypted")
    assert (how["scheme"], how["precision"], how["key"]) == ("aes-ctr", "compact", key.key_id)
    for kind in ("pooled", "cohort"):
        (event,) = encrypted.of(kind)
        assert event["sites"] == SITES
    (opened,) = encrypted.of("opened")
    assert opened["site"] in SITES
    report = report_of(*read_result(encrypted.result.parent))
    assert key.key_id[:4] in report.encryption
    assert report.pooled.value == encrypted.of("pooled")[0]["pooled"]["auc"]
    assert list(report.pooled_sites) == SITES
    assert report.population is not None and report.population.patients is not None


def test_events_and_store_say_what_each_hospital_did_in_the_clear(tapped: Tapped, clear: Ended) -> None:
    size = sum(array.nbytes for array in initial_weights(clear.job).values())
    assert {event["admission"] for event in clear.of("admitted")} == {"any"}
    for one in clear.of("round"):
        assert sorted(one["participation"]) == one["sites"] == SITES
        assert one["patients"] == sum(part["patients"] for part in one["participation"].values())
        for part in one["participation"].values():
            assert (part["outcome"], part["trained"]) == ("accepted", True)
            assert (part["sent_bytes"], part["received_bytes"]) == (size, size)
            assert 0 < part["seconds"] <= one["wall_s"]
        assert sum(one["stages"].values()) == pytest.approx(one["wall_s"], abs=2e-3)
    assert clear.of("suspect") == []
    assert_stored(tapped.running, "clear", clear.events)
    assert stat.S_IMODE((tapped.server / STORE_FILE).stat().st_mode) == 0o600


def test_an_encrypted_job_says_bytes_and_sealing_seconds_too(tapped: Tapped, encrypted: Ended) -> None:
    size = sum(array.nbytes for array in initial_weights(encrypted.job).values())
    first, second = encrypted.of("round")
    for site in SITES:
        assert first["participation"][site]["sent_bytes"] == 0, "the first model follows from the seed"
        assert second["participation"][site]["sent_bytes"] > size / 2
        assert first["participation"][site]["received_bytes"] > size / 2
    answers = encrypted.of("answered", task="round")
    assert answers and all(0 <= event["metrics"]["seal_s"] < event["seconds"] for event in answers)
    assert_stored(tapped.running, "encrypted", encrypted.events)


def test_pooled_figures_are_those_of_all_hospitals_histograms_together(tapped: Tapped, encrypted: Ended) -> None:
    model = load_model(encrypted.result / MODEL_FILE)
    there = trainers(tapped, encrypted.job)
    for trainer in there.values():
        trainer.validate(model)
    scores = pooled_scores(encrypted.job, sum(trainer.score_histogram() for trainer in there.values()))
    (event,) = encrypted.of("pooled")
    assert set(event["pooled"]) >= {"auc", "auc_low", "auc_high", "patients", "images"}
    for name in ("auc", "auc_low", "auc_high", "patients", "images"):
        assert event["pooled"][name] == pytest.approx(scores[name], abs=6e-5), name
    counts = sum(trainer.cohort_statistics() for trainer in there.values())
    due = pooled_statistics(encrypted.job, counts, min_count=1)
    (event,) = encrypted.of("cohort")
    for name in ("patients", "images", "age", "sex", "positives"):
        assert event["cohort_statistics"][name] == due[name], name


def test_a_site_that_fails_in_one_round_takes_part_in_the_next(tapped: Tapped, kept: Ended) -> None:
    assert kept.status == COMPLETED, kept.events
    others = [site for site in SITES if site != COAST]
    assert kept.rounds == [SITES, others, SITES]
    assert [(event["site"], event["round"]) for event in kept.of("dropped")] == [(COAST, 1)]
    due = in_a_loop(tapped, kept.job, failing=[(COAST, 1)])
    finals = {site: load_weights(kit / kept.job_id / FINAL_FILE) for site, kit in tapped.kits.items() if site in SITES}
    assert_close(finals[COAST], due, within=1e-4)
    for final in finals.values():
        assert_close(final, finals[COAST], within=0)


def test_a_model_that_stays_with_the_hospitals_is_not_opened(kept: Ended) -> None:
    assert not kept.of("opened")
    assert not list(kept.result.rglob(MODEL_FILE))
    assert len(kept.auc) == len(SITES) and len(kept.of("pooled")) == 1


def test_the_search_finds_a_job_in_the_clear_on_the_wire_and_at_the_server(tapped: Tapped, clear: Ended) -> None:
    """Without this, the next test could not fail."""
    known, trained = flat(initial_weights(clear.job)), tapped.trained(clear.job)
    assert len(trained) == 2 * len(SITES)
    wire, workspace = tapped.wire(of=tapped.server.name), list(files(tapped.server))
    for made in trained.values():
        assert share_found(windows([made["end"] - made["start"]], known=known), wire) > 0.9
    second = trained[f"{COAST}-1"]["start"]
    assert share_found(windows([second], known=known), wire) > 0.9
    final = flat(load_model(clear.result / MODEL_FILE))
    assert share_found(windows([final], known=known), wire) > 0.9
    assert share_found(windows([final], known=known), workspace) > 0.9
    doubled = b"odd" + final.astype(np.float64).tobytes()
    assert share_found(windows([final], known=known, double=True), [doubled], double=True) == 1


def test_of_an_encrypted_job_neither_wire_nor_server_holds_a_weight_or_the_key(tapped: Tapped, kept: Ended) -> None:
    known, trained = flat(initial_weights(kept.job)), tapped.trained(kept.job)
    assert len(trained) == 3 * len(SITES) - 1
    models = {
        "a hospital's model": [made["end"] for made in trained.values()],
        "a hospital's update": [made["end"] - made["start"] for made in trained.values()],
        "a round's model": [trained[f"{WEST}-{number}"]["start"] for number in (1, 2)],
        "the final model": [flat(load_weights(tapped.kits[WEST] / kept.job_id / FINAL_FILE))],
    }
    held = tapped.held
    sealed = (kept.result / SEALED_FILE).read_bytes()
    assert any(sealed in frames for frames in tapped.wire()), "the tap missed this job"
    for name, arrays in models.items():
        for double in (False, True):
            wanted = windows(arrays, known=known, double=double)
            assert len(wanted) > 1000, name
            assert share_found(wanted, held, double=double) == 0, name
    assert_without(held, read_key(tapped.keys[COAST]))


def test_a_sealed_model_takes_little_more_than_four_bytes_a_value(
    tapped: Tapped, kept: Ended, record_property: Any
) -> None:
    values, size = len(flat(initial_weights(kept.job))), (kept.result / SEALED_FILE).stat().st_size
    record_property("bytes_per_value", size / values)
    assert 4 * values < size < 4 * values + 1000


def test_a_hospital_with_another_key_is_declined_and_trains_nothing(tapped: Tapped, few: Ended) -> None:
    (declined,) = few.of("declined")
    assert declined["site"] == WEST
    for key in (OTHER, read_key(tapped.keys[COAST])):
        assert key.key_id[:8] in declined["reason"]
    assert few.rounds == [[site for site in SITES if site != WEST]], "the others went on"
    trained = tapped.trained(few.job)
    assert trained and not any(name.startswith(WEST) for name in trained)


def test_a_round_of_fewer_than_three_hospitals_ends_the_job_and_opens_nothing(few: Ended) -> None:
    assert few.status != COMPLETED
    (failed,) = few.of("failed")
    assert "round 1 does not count: 2 sites where min_sites is 3" in failed["reason"]
    assert not few.of("opened") and not few.of("pooled")
    assert not list(few.result.rglob(MODEL_FILE))


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_a_homomorphic_key_makes_the_same_model(tapped: Tapped, scheme: KeyScheme) -> None:
    with tapped.rekeyed(scheme):
        ended = tapped.run(tiny(scheme, rounds=1, encryption={"scheme": scheme, "clipping_range": 4.0, "max_sites": 4}))
        key = read_key(tapped.keys[COAST])
    assert ended.status == COMPLETED, ended.events
    assert [event["scheme"] for event in ended.of("encrypted")] == [scheme]
    assert_close(load_model(ended.result / MODEL_FILE), in_a_loop(tapped, ended.job), within=1e-5)
    assert len(ended.of("pooled")) == len(ended.of("opened")) == 1
    assert_without(tapped.held, key)


# masks


def true_codes(tapped: Tapped, job: JobSpec, site: str, number: int) -> NDArray[np.float64]:
    """The numbers that a hospital sealed, before their rounding."""
    assert job.encryption is not None
    bits = bits_of(job.encryption.scheme, job.encryption.precision)
    fixed = FixedPoint(clipping_range=job.encryption.clipping_range, bits=bits, max_sites=job.encryption.max_sites)
    made = tapped.trained(job)[f"{site}-{number}"]["end"].astype(np.float64)
    return np.append(made * (fixed.limit / fixed.clipping_range), fixed.limit)


def share_known(found: NDArray[np.int64], true: NDArray[np.float64], *, within: int) -> float:
    """Share of the numbers that the coalition knows, to the rounding."""
    return float(np.mean(np.abs(found - true) <= within))


def uploads_of(tapped: Tapped, ended: Ended, number: int, *, extra: int = 0) -> dict[str, Message]:
    """What each hospital sent the server in a round, as it was on the wire."""
    sealed = messages(tapped.wire(of=tapped.server.name), extra=extra)
    found = [one for one in sealed if (one.topic.job_id, one.topic.round_number) == (ended.job_id, number)]
    assert found, "the tap missed this job"
    return {one.parts[0].site: one for one in found}


def coalition(
    tapped: Tapped,
    ended: Ended,
    number: int,
    sites: Sequence[str],
    *,
    summed: Sequence[str] = (),
    sides: Sequence[str] = (COAST,),
) -> Coalition:
    """Some hospitals and the server, with all that was on the wire of a round; ``summed``: not all sites are."""
    keys = {site: tapped.keys_of[ended.job.job.name, site] for site in sides}
    assert all(sorted(one.publics or ()) == sorted(sites) for one in keys.values())
    uploads = uploads_of(tapped, ended, number, extra=extra_bytes(neighbours=len(sites) - 1, holders=len(sites)))
    uploads = {site: one for site, one in uploads.items() if site in (summed or sites)}
    nonces = {site: one.parts[0].nonce.hex() for site, one in sorted(uploads.items())}
    name = name_of_sum(next(iter(uploads.values())).topic, nonces)
    graph = Graph.complete(sites, colluding=colluding_of(ended.job))
    given = answers(tapped.wire(of=tapped.server.name), name=name, graph=graph)
    assert len(given) >= graph.quorum
    for holders in permutations(sites, len(given)):  # the wire's frames say who sent an answer; so does what opens
        shares = unlocked(dict(zip(holders, given, strict=True)), name=name, graph=graph, nonces=nonces)
        if len(shares) == len(given):
            return Coalition(graph=graph, uploads=uploads, answers=shares, keys=keys)
    raise AssertionError("the answers fit no hospitals")


def test_a_masked_job_makes_the_model_of_the_job_in_the_clear(tapped: Tapped, masked: Ended) -> None:
    assert masked.status == COMPLETED, masked.events
    assert masked.rounds == [THREE, THREE]
    assert_close(load_model(masked.result / MODEL_FILE), in_a_loop(tapped, masked.job, sites=THREE), within=1e-4)
    (how,) = masked.of("encrypted")
    assert (how["scheme"], how["hospitals"], how["max_colluding"], how["needed"]) == ("masked", 3, 1, 3)
    assert all(0 < one["stages"]["unmask_s"] < one["wall_s"] for one in masked.of("round"))
    assert len(masked.of("pooled")) == len(masked.of("cohort")) == len(masked.of("opened")) == 1
    report = report_of(*read_result(masked.result.parent))
    assert "up to 1 of 3 hospitals together learn only the sum of the others, of 2 or more" in report.encryption
    assert not list(tapped.running.kits.server.parent.rglob(RUN_KEYS_FILE)), "the keys of an ended run are destroyed"


def test_a_masked_job_goes_on_without_a_hospital_that_fails(tapped: Tapped, lossy: Ended) -> None:
    assert lossy.status == COMPLETED, lossy.events
    assert lossy.rounds == [SITES, THREE, SITES]
    due = in_a_loop(tapped, lossy.job, failing=[(WEST, 1)])
    for kit in (tapped.kits[site] for site in SITES):
        assert_close(load_weights(kit / lossy.job_id / FINAL_FILE), due, within=1e-4)


def test_a_hospital_with_the_server_reads_every_update_under_a_shared_key(tapped: Tapped, kept: Ended) -> None:
    """Without this, the next test could not fail."""
    key, uploads = read_key(tapped.keys[COAST]), uploads_of(tapped, kept, 0)
    assert sorted(uploads) == SITES
    for site, message in uploads.items():
        found = opened(message.payload, key, message, [site])
        assert share_known(found, true_codes(tapped, kept.job, site, 0), within=1) == 1


@pytest.mark.parametrize(
    ("job", "everybody", "sides"),
    [("masked", THREE, [COAST]), ("lossy", SITES, [COAST]), ("five", FIVE, [COAST, WEST]), ("compared", FIVE, [COAST])],
)
def test_hospitals_with_the_server_read_of_masked_updates_their_sum_alone(
    tapped: Tapped, job: str, everybody: list[str], sides: list[str], request: pytest.FixtureRequest
) -> None:
    ended: Ended = request.getfixturevalue(job)
    for number in range(1 if job == "five" else 2):
        summed = ended.rounds[number]
        both = coalition(tapped, ended, number, everybody, summed=summed, sides=sides)
        others = both.others
        assert len(others) >= 2 and not set(sides) & set(others)
        true = {site: true_codes(tapped, ended.job, site, number) for site in summed}
        for site in sorted({*sides} & {*summed}):
            assert share_known(both.best(site), true[site], within=1) == 1, "its own it can read"
        whole = np.sum([true[site] for site in others], axis=0)
        assert share_known(both.total(others), whole, within=len(others)) == 1, "and the sum of the others"
        for size in range(1, len(others)):
            for some in combinations(others, size):
                part = np.sum([true[site] for site in some], axis=0)
                assert share_known(both.total(some), part, within=1000) < 1e-3, some


def test_of_a_masked_job_neither_wire_nor_server_holds_a_weight_or_a_key(tapped: Tapped, lossy: Ended) -> None:
    known, trained = flat(initial_weights(lossy.job)), tapped.trained(lossy.job)
    arrays = [made["end"] for made in trained.values()]
    arrays += [made["end"] - made["start"] for made in trained.values()]
    arrays.append(flat(load_weights(tapped.kits[WEST] / lossy.job_id / FINAL_FILE)))
    held, keys = tapped.held, tapped.keys_of["lossy", COAST]
    for double in (False, True):
        assert share_found(windows(arrays, known=known, double=double), held, double=double) == 0
    for secret in (keys.pair.private, keys.secret or b""):
        assert len(secret) == 32
        assert not any(form in blob for blob in held for form in (secret, secret.hex().encode()))


def test_a_false_model_is_left_out_of_every_sum(tapped: Tapped, compared: Ended) -> None:
    assert compared.status == COMPLETED, compared.events
    honest = [site for site in FIVE if site != WEST]
    assert compared.rounds == [honest, honest]
    parts = [event["participation"][WEST] for event in compared.of("round")]
    assert {(part["outcome"], part["reason"]) for part in parts} == {
        ("left out", "its model was not among those nearest to each other")
    }
    due = in_a_loop(tapped, compared.job, sites=honest)
    assert_close(load_model(compared.result / MODEL_FILE), due, within=1e-4)
    assert_close(load_weights(tapped.kits[WEST] / compared.job_id / FINAL_FILE), due, within=1e-4)
