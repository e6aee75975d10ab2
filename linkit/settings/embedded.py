"""The embedded default: where data and secrets live when no server is configured.

`manage.py up` runs everything from one folder, `var/`: the SQLite file, a SECRET_KEY and an encryption key made
once, and the address of the Valkey server while it runs. Production sets DATABASE_URL and never reads these files.
"""

import os
import secrets
import tempfile
from pathlib import Path

import environ
from cryptography.fernet import Fernet

REDIS_FILE = "embedded.env"  # the REDIS_URL of the `manage.py up` that is running
SECRETS_FILE = "secrets.env"


def _draft(path: Path, text: str) -> Path:
    """Write `text` beside `path` to a file of a new name, readable by this user only, and return it."""
    # The folder holds messages, numbers and keys: nobody else on this machine has business in it.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600 from the start
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return Path(name)


def private_file(path: Path, text: str) -> None:
    """Write `text` to `path`, readable by this user only. A reader sees the old file or the new one, never half."""
    _draft(path, text).replace(path)


def load_secrets(path: Path) -> dict[str, str]:
    """Return SECRET_KEY and FIELD_ENCRYPTION_KEYS from `path`, making both on the first start."""
    if not path.exists():
        made = f"SECRET_KEY={secrets.token_urlsafe(50)}\nFIELD_ENCRYPTION_KEYS={Fernet.generate_key().decode()}\n"
        draft = _draft(path, made)
        try:
            # link() refuses to overwrite: of two first starts at once, one set of keys wins for both.
            os.link(draft, path)
        except FileExistsError:
            pass  # the other start's keys are as good, and are read below
        finally:
            draft.unlink()
    return read_env_file(path)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the NAME=value lines of `path`; nothing when it does not exist."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def fill_in(env: environ.Env, *, var: Path) -> None:
    """Add to the environment what the embedded mode knows and nobody has set. Empty counts as not set."""
    known = read_env_file(var / REDIS_FILE)
    if not env.ENVIRON.get("DATABASE_URL"):
        known |= load_secrets(var / SECRETS_FILE)
    for name, value in known.items():
        if not env.ENVIRON.get(name):
            env.ENVIRON[name] = value


def own_url(host: str, port: int) -> str:
    """Return the address under which a browser on this machine reaches a server that listens on `host`."""
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
