# One image a service, each with the packages of its own lock file and nothing else:
#
#   docker build --target gateway --tag chipsieve/gateway .
#
# Targets: gateway, extractor, extractor-gpu, matcher, router, cli (the `chipsieve` command: train, publish, topics, …).
# Behind a package mirror: --build-arg UV_DEFAULT_INDEX=… --build-arg PIP_INDEX_URL=…

# ---- what every image runs on
FROM python:3.11-slim-bookworm AS runtime
# A number, so that Kubernetes can check runAsNonRoot.
RUN groupadd --gid 10001 chipsieve \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/chipsieve --shell /usr/sbin/nologin chipsieve \
    && install --directory --owner 10001 --group 10001 /var/cache/chipsieve /bundles
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CHIPSIEVE_CACHE_DIR=/var/cache/chipsieve \
    CHIPSIEVE_ADMIN__HOST=0.0.0.0 \
    CHIPSIEVE_ADMIN__PORT=9100
WORKDIR /app
USER 10001:10001
EXPOSE 9100
# Alive, not ready: an outage of the broker is no reason to restart (README, What you can rely on, 5). The first start may compile an engine.
# Whatever proxy a container is given, it does not reach the container itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["env", "no_proxy=*", "python", "-c", "import os, urllib.request as u; \
        u.urlopen(f\"http://127.0.0.1:{os.environ['CHIPSIEVE_ADMIN__PORT']}/healthz\", timeout=2)"]

# ---- what every virtual environment is made with
FROM python:3.11-slim-bookworm AS builder
ARG UV_DEFAULT_INDEX
ARG PIP_INDEX_URL
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=300
WORKDIR /build
COPY requirements/uv.lock .
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement uv.lock \
    && uv venv /opt/venv

FROM builder AS gateway-packages
COPY requirements/gateway.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes gateway.lock

FROM builder AS extractor-packages
COPY requirements/extractor.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes extractor.lock

FROM builder AS extractor-gpu-packages
COPY requirements/extractor-gpu.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes extractor-gpu.lock

FROM builder AS matcher-packages
COPY requirements/matcher.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes matcher.lock

FROM builder AS router-packages
COPY requirements/router.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes router.lock

FROM builder AS cli-packages
COPY requirements/cli.lock .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --python /opt/venv/bin/python --require-hashes cli.lock
COPY pyproject.toml .
# Reports and `--version` tell the version of the package, which is not installed here: its sources lie in /app.
RUN version=$(python -c "import tomllib; print(tomllib.load(open('pyproject.toml', 'rb'))['project']['version'])") \
    && directory=/opt/venv/lib/python3.11/site-packages/chipsieve-$version.dist-info \
    && mkdir "$directory" \
    && printf 'Metadata-Version: 2.1\nName: chipsieve\nVersion: %s\n' "$version" > "$directory/METADATA"

# ---- the services; each sees its own code and what all share
FROM runtime AS shared
COPY schemas schemas
COPY services/__init__.py services/
COPY shared shared

FROM shared AS gateway
COPY --from=gateway-packages /opt/venv /opt/venv
COPY services/gateway services/gateway
# glibc: one heap for all threads, of which more than 128 KiB free at its end go back. Else each thread that takes in or
# decodes pictures keeps one of its own. services/cli/line.py gives a local gateway the same.
ENV CHIPSIEVE_GATEWAY__HOST=0.0.0.0 \
    MALLOC_ARENA_MAX=1 \
    MALLOC_TRIM_THRESHOLD_=131072
EXPOSE 8080
CMD ["python", "-m", "services.gateway"]

FROM shared AS extractor
COPY --from=extractor-packages /opt/venv /opt/venv
COPY services/extractor services/extractor
CMD ["python", "-m", "services.extractor"]

FROM shared AS extractor-gpu
COPY --from=extractor-gpu-packages /opt/venv /opt/venv
COPY services/extractor services/extractor
ENV CHIPSIEVE_ENGINE__KIND=tensorflow
CMD ["python", "-m", "services.extractor"]

FROM shared AS matcher
COPY --from=matcher-packages /opt/venv /opt/venv
COPY services/matcher services/matcher
CMD ["python", "-m", "services.matcher"]

FROM shared AS router
COPY --from=router-packages /opt/venv /opt/venv
COPY services/router services/router
CMD ["python", "-m", "services.router"]

# Last: the target of a build that names none.
FROM shared AS cli
COPY --from=cli-packages /opt/venv /opt/venv
COPY services services
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "services.cli"]
CMD ["--help"]
