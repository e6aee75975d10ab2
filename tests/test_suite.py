"""The suite itself: its servers are real, its network is closed."""

import socket
import threading

import pytest
from django.db import connection, connections

from linkit.models import Organization
from linkit.redis import client
from tests import services
from tests.conftest import Api
from tests.offline import NetworkReached


def test_only_loopback_is_open():
    with pytest.raises(NetworkReached), socket.socket() as sock:
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(NetworkReached):
        socket.create_connection(("example.com", 80))
    with pytest.raises(socket.gaierror):
        socket.create_connection(("nobody.invalid", 80))


def test_redis_answers():
    assert client().ping()
    assert client().connection_pool.connection_kwargs["db"] == services.worker_index()


def test_the_database_is_the_one_asked_for(db):
    assert connection.vendor == ("sqlite" if services.is_sqlite() else "postgresql")


@pytest.mark.django_db(transaction=True)
def test_another_connection_sees_what_is_committed():
    Organization.objects.create(name="Seen")
    seen = []

    def look():
        seen.append(Organization.objects.filter(name="Seen").exists())
        connections.close_all()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [True]


def test_the_api_client_is_known(api: Api, anonymous: Api):
    assert anonymous.get("/api/v1/ping").status_code == 200
    assert anonymous.get("/api/v1/auth/me").status_code == 401
    assert api.get("/api/v1/auth/me").status_code in (200, 403)
