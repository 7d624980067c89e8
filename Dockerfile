# driftlock with PostgreSQL's server binaries, for a CI that has Docker alone:
#
#   docker build -t driftlock .
#   docker run --rm -v "$PWD:/work" driftlock explore scripts/
#
# Both images may be others of Debian's: --build-arg RUST=…, --build-arg DEBIAN=….
ARG RUST=rust:1.95-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN cargo install --locked --path harness --root /built --bin driftlock

FROM ${DEBIAN}
# Only the programs are wanted, not the cluster that the package would make and start. Git is for `rehearse --changed`.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends git postgresql-common \
    && sed -ri 's/^#?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install -y -qq --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 driftlock \
    && install -d -o driftlock /work
COPY --from=build /built/bin/driftlock /usr/local/bin/driftlock
USER driftlock
WORKDIR /work
ENTRYPOINT ["driftlock"]
CMD ["doctor"]
