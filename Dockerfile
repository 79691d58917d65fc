FROM python:3.13-slim AS base


FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-build.lock ./
RUN python -m venv tools && tools/bin/pip install --require-hashes --requirement requirements-build.lock
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/trainserve \
    && tools/bin/pip --python /opt/trainserve/bin/python install --no-compile --require-hashes --requirement requirements.lock
# Away with what nobody opens here: tests, stubs, headers, the AVIF codec. The bytecode of the rest is not checked
# against its source, so that it serves whatever becomes of the files' times.
RUN cd /opt/trainserve/lib/python3.*/site-packages \
    && find . -depth \( -type d -name tests -o -name '*.pyi' -o -name '*.pxd' -o -name '*.h' \
        -o -name '_avif.*.so' -o -name 'libavif-*' \) -exec rm -r {} + \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x pygments .
COPY LICENSE README.md pyproject.toml ./
COPY nn nn
COPY service service
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/pip --python /opt/trainserve/bin/python install --no-compile --no-deps dist/trainserve-*.whl \
    && cd /opt/trainserve/lib/python3.*/site-packages \
    && python -m compileall -q --invalidation-mode unchecked-hash nn service
COPY models /opt/trainserve/models
RUN chmod -R a+rX /opt/trainserve/models


FROM base
LABEL org.opencontainers.image.title="trainserve" \
    org.opencontainers.image.description="A small REST microservice that trains neural networks written in NumPy and serves them" \
    org.opencontainers.image.licenses="MIT AND CC-BY-SA-3.0 AND CC-BY-4.0"
# The volume is open to the group of root, which is what `docker run --user NUMBER` gives: such a user can begin one.
RUN groupadd --gid 10001 trainserve \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/trainserve --shell /usr/sbin/nologin trainserve \
    && install --directory --owner 10001 --group 0 --mode 0775 /var/lib/trainserve
COPY --from=build /opt/trainserve /opt/trainserve
ENV PATH=/opt/trainserve/bin:$PATH \
    TRAINSERVE_HOST=0.0.0.0 \
    TRAINSERVE_PORT=8000 \
    TRAINSERVE_PRETRAINED=/opt/trainserve/models
# The base image ships its standard library without bytecode, and the service's user cannot write any: what is imported
# here is compiled once and not at every start.
RUN python -c 'import service.server, service.training' && cd /tmp && trainserve evaluate mnist && rm -r models state
ENV TRAINSERVE_DATABASE_URL=sqlite:////var/lib/trainserve/trainserve.db \
    TRAINSERVE_ARTIFACTS_URL=/var/lib/trainserve/models
USER 10001:10001
WORKDIR /var/lib/trainserve
VOLUME /var/lib/trainserve
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('localhost', int(os.environ['TRAINSERVE_PORT'])); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["trainserve"]
CMD ["serve"]
