# The image of every process of ours: one build, several commands (compose.yaml). PostgreSQL and Redis are not in it.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATIC_ROOT=/srv/static \
    VAR_DIR=/srv/var \
    WEB_CONCURRENCY=2

RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /srv linkit \
    && install -d -o linkit -g linkit /srv/var

WORKDIR /srv/linkit

# Packages before code: a change of code does not install them again.
COPY requirements/production.txt requirements/
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore --require-hashes \
    -r requirements/production.txt

# Folder by folder, so that nothing else of a checkout (its .env, var/ or .venv/) gets into the image.
COPY manage.py ./
COPY linkit linkit
COPY billing billing
COPY sms_providers sms_providers
COPY outbox outbox
COPY contacts contacts
COPY templates templates

# Settings ask for these three; collecting files uses none of them, and none is kept.
RUN SECRET_KEY=build FIELD_ENCRYPTION_KEYS=build DATABASE_URL=postgres://build \
    python manage.py collectstatic --no-input --verbosity 0

USER linkit
EXPOSE 8000

HEALTHCHECK --interval=15s --timeout=10s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/v1/health', timeout=8)"]

# More processes: WEB_CONCURRENCY. Any other option of gunicorn: GUNICORN_CMD_ARGS.
CMD ["gunicorn", "linkit.wsgi", "--config", "python:linkit.web_server", "--bind", "0.0.0.0:8000", \
     "--threads", "8", "--graceful-timeout", "25", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
