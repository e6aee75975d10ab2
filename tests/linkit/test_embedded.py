"""The embedded mode: keys made once, kept private; and which Redis counts."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environ
import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from linkit import valkey
from linkit.settings import embedded


class FakeEnv(environ.Env):
    """An environment of our own, so that nothing of this process's is touched."""

    def __init__(self, **given: str) -> None:
        super().__init__()
        self.ENVIRON = given


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def settings_say(var: Path, expression: str, **env: str) -> str:
    """Return what `expression` is in a fresh process with the settings of the product, as `settings`."""
    shell = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # Set but empty, so that a developer's .env cannot say otherwise.
    unset = {"DATABASE_URL": "", "REDIS_URL": "", "SECRET_KEY": "", "FIELD_ENCRYPTION_KEYS": ""}
    code = f"from django.conf import settings; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env={**shell, **unset, "DJANGO_SETTINGS_MODULE": "linkit.settings.base", "VAR_DIR": str(var), **env},
        text=True,
        capture_output=True,
        check=True,
    ).stdout.strip()


def test_keys_are_made_once_and_are_usable(tmp_path):
    path = tmp_path / "var" / "secrets.env"
    made = embedded.load_secrets(path)
    assert set(made) == {"SECRET_KEY", "FIELD_ENCRYPTION_KEYS"}
    assert len(made["SECRET_KEY"]) >= 50
    Fernet(made["FIELD_ENCRYPTION_KEYS"])
    assert embedded.load_secrets(path) == made


def test_keys_are_for_this_user_only(tmp_path):
    path = tmp_path / "var" / "secrets.env"
    former = os.umask(0)  # the most careless there is
    try:
        embedded.load_secrets(path)
        embedded.private_file(path.with_name("embedded.env"), "REDIS_URL=redis://127.0.0.1:1/0\n")
    finally:
        os.umask(former)
    assert mode(path.parent) == 0o700
    assert {each.name: mode(each) for each in path.parent.iterdir()} == {"secrets.env": 0o600, "embedded.env": 0o600}


def test_first_starts_at_once_get_the_same_keys(tmp_path):
    path = tmp_path / "var" / "secrets.env"
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: embedded.load_secrets(path), range(64)))
    assert all(each == made[0] for each in made)
    assert [each.name for each in path.parent.iterdir()] == ["secrets.env"], "no drafts are left"


def test_first_processes_at_once_get_the_same_keys(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: settings_say(tmp_path, "settings.SECRET_KEY"), range(4)))
    assert len(set(said)) == 1
    assert said[0]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "embedded.env"
    embedded.private_file(path, "REDIS_URL=redis://127.0.0.1:1/0\n")
    embedded.private_file(path, "REDIS_URL=redis://127.0.0.1:2/0\n")
    assert embedded.read_env_file(path) == {"REDIS_URL": "redis://127.0.0.1:2/0"}
    assert [each.name for each in tmp_path.iterdir()] == ["embedded.env"]


def test_a_value_may_contain_an_equals_sign(tmp_path):
    path = tmp_path / "secrets.env"
    path.write_text("\nSECRET_KEY=a=b==\n")
    assert embedded.read_env_file(path) == {"SECRET_KEY": "a=b=="}
    assert embedded.read_env_file(tmp_path / "none") == {}


def test_what_somebody_set_is_kept_and_empty_is_not_set(tmp_path):
    embedded.private_file(tmp_path / "embedded.env", "REDIS_URL=redis://127.0.0.1:1/0\n")
    env = FakeEnv(SECRET_KEY="mine", REDIS_URL="")
    embedded.fill_in(env, var=tmp_path)
    assert env.ENVIRON["SECRET_KEY"] == "mine"
    assert env.ENVIRON["FIELD_ENCRYPTION_KEYS"]
    assert env.ENVIRON["REDIS_URL"] == "redis://127.0.0.1:1/0"

    env = FakeEnv(REDIS_URL="redis://mine")
    embedded.fill_in(env, var=tmp_path)
    assert env.ENVIRON["REDIS_URL"] == "redis://mine"


def test_with_a_database_of_ones_own_no_keys_are_made(tmp_path):
    env = FakeEnv(DATABASE_URL="postgres://somewhere")
    embedded.fill_in(env, var=tmp_path)
    assert dict(env.ENVIRON) == {"DATABASE_URL": "postgres://somewhere"}
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(subprocess.CalledProcessError) as failed:
        settings_say(tmp_path, "settings.SECRET_KEY", DATABASE_URL="postgres://somewhere")
    assert "SECRET_KEY" in failed.value.stderr


def test_a_second_terminal_finds_the_running_valkey(tmp_path):
    embedded.private_file(tmp_path / "embedded.env", "REDIS_URL=redis://:secret@127.0.0.1:4567/0\n")
    said = settings_say(tmp_path, "settings.REDIS_URL, settings.CELERY_BROKER_URL, settings.HAS_REDIS_URL")
    assert said == "redis://:secret@127.0.0.1:4567/0 redis://:secret@127.0.0.1:4567/0 False"


def test_what_is_left_of_a_crash_is_not_taken_for_somebodys_redis(tmp_path):
    """`manage.py up` asks HAS_REDIS_URL whether to start a server of its own."""
    embedded.private_file(tmp_path / "embedded.env", "REDIS_URL=redis://127.0.0.1:4567/0\n")
    assert settings_say(tmp_path, "settings.HAS_REDIS_URL") == "False"
    said = settings_say(tmp_path, "settings.HAS_REDIS_URL, settings.REDIS_URL", REDIS_URL="redis://127.0.0.1:9/1")
    assert said == "True redis://127.0.0.1:9/1"


def test_a_folder_with_any_name_holds_the_database(tmp_path):
    var = tmp_path / "my data #1 ?%20"
    assert settings_say(var, "settings.DATABASES['default']['NAME']") == str(var / "linkit.sqlite3")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001"),
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("::", "http://127.0.0.1:8001"),
        ("::1", "http://[::1]:8001"),
        ("sms.lan", "http://sms.lan:8001"),
    ],
)
def test_the_address_follows_host_and_port(host, url):
    assert embedded.own_url(host, 8001) == url


def test_our_valkey_wants_its_password_and_ends(tmp_path):
    child, url = valkey.start(log=tmp_path / "valkey.log", meanwhile=lambda: None)
    try:
        assert valkey.answers(url)
        without_password = "redis://" + url.rpartition("@")[2]
        assert not valkey.answers(without_password)
        assert child.process is not None
        arguments = " ".join(str(argument) for argument in child.process.args)  # type: ignore[union-attr]
        assert url.partition("@")[0].removeprefix("redis://:") not in arguments
    finally:
        child.stop()
    assert not valkey.answers(url)


def test_no_server_for_this_machine_is_said(monkeypatch):
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    monkeypatch.setattr(valkey.shutil, "which", lambda name: None)
    with pytest.raises(valkey.NoValkey, match="REDIS_URL="):
        valkey.find_binary()
