# Koban's image: the workers, the jobs' client, the console and the command line; target `flink` adds the cluster's side.
FROM python:3.11.13-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 GX_ANALYTICS_ENABLED=false
RUN pip install --no-cache-dir "uv>=0.8,<1" && useradd --create-home --uid 10001 koban
WORKDIR /app
# Packages first: they change less often than the code.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project
COPY koban koban
COPY schemas schemas
COPY streams streams
COPY jobs jobs
COPY sinks sinks
COPY dashboards dashboards
COPY ops ops
COPY engines.lock ./
RUN uv sync --locked --no-dev
ENV PATH=/app/.venv/bin:$PATH KOBAN_DATA_DIR=/var/lib/koban
RUN mkdir -p /var/lib/koban && chown koban:koban /var/lib/koban
USER koban
ENTRYPOINT []
CMD ["koban", "--help"]

FROM base AS flink
# The wheel is the whole Flink distribution; the connectors come by their locked coordinates and hashes.
USER root
RUN mkdir -p /opt/koban-cache && chown koban /opt/koban-cache
USER koban
ENV KOBAN_CACHE_DIR=/opt/koban-cache
RUN python -m ops.engines.fetch flink
CMD ["python", "-m", "ops.engines.run", "flink-jobmanager"]

FROM opensearchproject/opensearch:3.8.0 AS opensearch
# Search needs the Japanese analysis plugin, which the official image leaves out.
RUN /usr/share/opensearch/bin/opensearch-plugin install --batch analysis-kuromoji
