# The full image has the compiler that the decoder is built with.
FROM python:3.13 AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 tickline && install -d -o tickline /data
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels tickline
USER tickline
ENV TICKLINE_HOME=/data
VOLUME /data
ENTRYPOINT []
CMD ["tickline", "start"]
