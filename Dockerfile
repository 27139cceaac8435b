# The worker and the `lockstep` command. Everything is fetched while the image is built; nothing at run time.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY worker worker
COPY jobs jobs
COPY sql sql
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -c constraints.txt /dist/*.whl

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin lockstep
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
# Python may import from the current folder: this one is empty, and the worker cannot write to it.
WORKDIR /run/lockstep
USER lockstep
CMD ["lockstep", "worker"]
