"""The sender: each result to the archive, again until it is taken."""

import socket
import time

import pytest

from make_node import archive, raising, study_with_results
from nbcad.node.config import Send, Tls
from nbcad.node.jobs import Jobs
from nbcad.node.sender import Sender
from nbcad.node.study import State
from nbcad.node.tls import server_tls

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_of_pynetdicom"),
]


def _sender(queue: Jobs, port: int, **settings) -> Sender:
    return Sender(Send(host="127.0.0.1", port=port, **{"retry_s": 0.1} | settings), Tls(), "NBCAD", queue)


def test_results_go_to_the_archive_and_each_delivery_is_recorded(queue):
    study_with_results(queue, count=3)
    with archive() as (pacs, port):
        sender = _sender(queue, port)
        assert sender.step() and not sender.step()
    assert len(pacs.got) == 3 and queue.study(1).state == State.DONE and queue.study(1).sent == 3


def test_only_what_the_archive_refused_is_sent_again(queue):
    study_with_results(queue, count=3)
    with archive() as (pacs, port):
        pacs.answers = [0, 0xA700, 0]
        sender = _sender(queue, port)
        sender.step()
        waits = queue.study(1)
        assert (waits.state, waits.sent, waits.send_attempts) == (State.SENDING, 2, 1) and "A700" in str(waits.reason)
        assert not sender.step()  # not yet
        time.sleep(0.15)
        assert sender.step()
    assert len(set(pacs.uids())) == len(pacs.uids()) == 3 and queue.study(1).state == State.DONE


def test_delivery_that_was_not_recorded_is_sent_again_under_the_same_uid(queue, monkeypatch):
    study_with_results(queue, count=1)
    with archive() as (pacs, port):
        with monkeypatch.context() as patch:
            patch.setattr(queue, "delivered", raising(OSError("killed here")))
            with pytest.raises(OSError):
                _sender(queue, port).step()
        _sender(queue, port).step()
    assert len(pacs.uids()) == 2 and len(set(pacs.uids())) == 1 and queue.study(1).state == State.DONE


def test_absent_archive_is_asked_less_and_less_and_then_given_up(queue):
    study_with_results(queue)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sender = _sender(queue, port, retry_s=3600.0)
    sender.step()
    assert queue.to_send() is None and "cannot be reached" in str(queue.study(1).reason)
    queue.recover()
    _sender(queue, port, give_up_h=0.0).step()
    assert queue.study(1).state == State.SET_ASIDE and "could not be delivered" in str(queue.study(1).reason)


def test_results_go_by_tls(queue, certificates):
    study_with_results(queue)
    with archive(ssl_context=server_tls(certificates)) as (pacs, port):
        settings = Send(host="127.0.0.1", port=port, tls=True)
        Sender(settings, certificates, "NBCAD", queue).step()
    assert len(pacs.got) == 2 and queue.study(1).state == State.DONE
