"""The queue: what a study goes through, and that nothing of it is lost."""

import errno
import sqlite3
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from make_node import SENDER, arrive, raising, results_in, study, study_in_analysis, study_with_results
from nbcad.errors import DatabaseError
from nbcad.language.catalogue import Language
from nbcad.language.message import EMPTY, message, verbatim
from nbcad.node import jobs
from nbcad.node.jobs import ANEW, MOST_BROKEN_OFF, Jobs
from nbcad.node.study import Arrival, State


def test_quiet_study_goes_from_state_to_state_until_it_is_done(queue):
    images = study(1)
    for image in images:
        job, arrival = arrive(queue, image)
        assert (job, arrival) == (1, Arrival.NEW)
    assert queue.settle(60) == [] and queue.study(1).state == State.RECEIVING and queue.take() is None
    assert queue.settle(0) == [1] and queue.study(1).state == State.WAITING
    taken = queue.take()
    assert (taken.state, taken.objects, taken.analyses, taken.sender) == (State.ANALYSING, 3, 1, SENDER)
    assert len(list(taken.images.iterdir())) == 3
    results = results_in(taken.folder / "report-1", taken.study_uid)
    assert queue.analysed(taken, taken.folder / "report-1", "L2", 4, results)
    sending = queue.to_send()
    assert (sending.state, sending.stage, sending.lesions, sending.results) == (State.SENDING, "L2", 4, 2)
    for result in queue.unsent(sending):
        queue.delivered(result)
    assert queue.unsent(sending) == [] and queue.all_delivered(sending)
    done = queue.study(1)
    assert (done.state, done.sent, done.report) == (State.DONE, 2, taken.folder / "report-1")
    assert queue.studies() == [done] and queue.studies(State.WAITING) == [] and queue.counts()[State.DONE] == 1


def test_jobs_count_studies_and_not_their_objects(queue):
    assert [arrive(queue, image)[0] for number in (1, 2, 3) for image in study(number)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_object_sent_twice_is_kept_once(queue):
    image = study(1)[0]
    arrive(queue, image, b"1")
    assert arrive(queue, image, b"1")[1] == Arrival.KNOWN
    (path,) = queue.study(1).images.iterdir()
    assert (queue.study(1).objects, queue.study(1).bytes, path.read_bytes()) == (1, 1, b"1")


def test_object_with_other_content_takes_the_place_of_the_earlier(queue):
    image = study(1)[0]
    arrive(queue, image, b"1")
    assert arrive(queue, image, b"22")[1] == Arrival.REPLACED
    kept = queue.study(1)
    (path,) = kept.images.iterdir()
    assert (kept.objects, kept.bytes, path.read_bytes()) == (1, 2, b"22")


def test_uid_stands_in_no_name_on_disk_and_leads_out_of_no_folder(queue):
    arrive(queue, SimpleNamespace(StudyInstanceUID="../../../evil", SOPInstanceUID="../../../evil"))
    kept = queue.study(1)
    (path,) = kept.images.resolve().iterdir()
    assert path.is_relative_to(queue.folder) and "evil" not in str(path)


@pytest.mark.parametrize("state", [State.ANALYSING, State.SENDING, State.DONE, State.SET_ASIDE])
def test_new_object_has_a_study_analysed_again_from_any_state(queue, state):
    if state == State.ANALYSING:
        study_in_analysis(queue)
    elif state == State.SET_ASIDE:
        queue.set_aside(study_in_analysis(queue), verbatim("broken"))
    else:
        study_with_results(queue)
        if state == State.DONE:
            queue.all_delivered(queue.study(1))
    assert queue.study(1).state == state
    arrive(queue, study(1)[0], b"1")  # known
    assert queue.study(1).state == (State.RECEIVING if state == State.SET_ASIDE else state)
    arrive(queue, study(1, slices=2)[1], b"1")
    again = queue.study(1)
    assert again.state == State.RECEIVING and again.reason == (EMPTY if state == State.SET_ASIDE else ANEW)
    assert queue.to_send() is None
    queue.settle(0)
    assert queue.take().analyses == 2


def test_analysis_into_which_objects_came_is_not_recorded(queue):
    taken = study_in_analysis(queue)
    arrive(queue, study(1, slices=2)[1])
    results = results_in(taken.folder / "report-1", taken.study_uid)
    assert not queue.analysed(taken, results[0].parent, "M", 1, results)
    assert not queue.set_aside(taken, verbatim("too late")) and not queue.put_back(taken, verbatim("too late"))
    now = queue.study(taken.job)
    assert (now.state, now.stage, now.results) == (State.RECEIVING, None, 0)


def test_study_set_aside_is_tried_again_when_it_is_sent_again(queue):
    queue.set_aside(study_in_analysis(queue), verbatim("no memory"))
    assert str(queue.study(1).reason) == "no memory"
    assert arrive(queue, study(1)[0])[1] == Arrival.KNOWN
    assert (queue.study(1).state, queue.study(1).reason) == (State.RECEIVING, EMPTY)


def test_killed_process_loses_no_study_and_no_record_of_what_was_sent(queue):
    sending = study_with_results(queue)
    queue.delivered(queue.unsent(sending)[0])
    study_in_analysis(queue, 2)
    arrive(queue, study(3)[0])
    (queue.incoming / "half").write_bytes(b"half an object")
    with closing(Jobs(queue.folder)) as after:
        assert after.recover() == [2] and list(after.incoming.iterdir()) == []
        assert [after.study(n).state for n in (1, 2, 3)] == [State.SENDING, State.WAITING, State.RECEIVING]
        assert [result.name for result in after.unsent(after.to_send())] == ["report-1/0001.dcm"]
        assert after.take().analyses == 2  # another folder than the one that the killed process may still write


def test_study_whose_analysis_ends_the_node_every_time_is_set_aside(queue):
    arrive(queue, study(1)[0])
    queue.settle(0)
    for _ in range(MOST_BROKEN_OFF):
        assert queue.take().state == State.ANALYSING
        queue.recover()
    assert queue.study(1).state == State.SET_ASIDE and "3 times" in str(queue.study(1).reason)


def test_old_studies_are_removed_with_their_files_and_others_are_kept(queue):
    done = study_with_results(queue)
    queue.all_delivered(done)
    waiting = study_with_results(queue, 2)
    assert queue.forget(time.time() - 60) == [] and queue.forget(time.time() + 60) == [1]
    assert not done.folder.exists() and waiting.folder.exists() and queue.study(1) is None
    assert arrive(queue, study(1)[0])[0] == 3  # a number is not given twice


def test_sender_that_begins_again_or_was_cut_off_is_waited_for(queue, monkeypatch):
    images = study(1)
    now = time.time()
    monkeypatch.setattr(jobs.time, "time", lambda: now)
    arrive(queue, images[0])
    now += 20
    arrive(queue, images[0])
    now += 20
    assert queue.settle(30) == []
    now += 100
    queue.recover()
    now += 20
    assert queue.settle(30) == []
    now += 11
    assert queue.settle(30) == [1]


def test_results_are_tried_again_after_their_time_or_at_a_restart(queue):
    queue.not_delivered(study_with_results(queue), verbatim("nobody there"), 3600)
    assert queue.to_send() is None
    assert (str(queue.study(1).reason), queue.study(1).send_attempts) == ("nobody there", 1)
    queue.recover()
    assert queue.to_send().job == 1


def test_reason_is_in_the_page_s_language_after_the_queue_is_opened_again(queue):
    reason = message("its results could not be delivered: {reason}", reason=message("the association ended"))
    queue.set_aside(study_in_analysis(queue), reason)
    with closing(Jobs(queue.folder)) as after:
        assert after.study(1).reason == reason
        assert Language("zh").render(after.study(1).reason) == "结果未能送达：关联已中断"


def test_queue_of_version_1_keeps_its_reasons_in_english(queue):
    queue.set_aside(study_in_analysis(queue), verbatim("x"))
    study_in_analysis(queue, 2)
    with closing(sqlite3.connect(queue.folder / jobs.DATABASE)) as database:
        database.execute("UPDATE study SET reason = 'the archive says {no}' WHERE job = 1")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with closing(Jobs(queue.folder)) as after:
        assert [str(after.study(job).reason) for job in (1, 2)] == ["the archive says {no}", ""]
        after.set_aside(after.study(2), message("the association ended"))
    with closing(Jobs(queue.folder)) as after:  # what was brought to the present version once, stays as it is
        rendered = [Language("zh").render(after.study(job).reason) for job in (1, 2)]
    assert rendered == ["the archive says {no}", "关联已中断"]


def test_queue_of_another_version_or_none_is_refused(tmp_path):
    Jobs(tmp_path / "a").close()
    with closing(sqlite3.connect(tmp_path / "a" / jobs.DATABASE)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="version 99"):
        Jobs(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / jobs.DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseError, match="no queue"):
        Jobs(tmp_path / "b")


def test_transaction_that_cannot_be_written_is_not_half_there(queue, monkeypatch):
    monkeypatch.setattr(jobs.os, "replace", raising(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError):
        arrive(queue, study(1)[0])
    assert queue.studies() == []
