# The container image: docs/container.md says how to run it. Two targets have
# the same contents but for where the binaries come from:
#
#   docker build .                     compiles them here, for the machine it runs on
#   docker build --target prebuilt .   takes those of bin/ (make build, make build-arm64)
#
# Both base images can be replaced, for a registry of one's own or for none:
# scripts/image imports roots made by mmdebstrap.

# Debian 13, not 12: its libvips 8.16 has vector code that needs no writable and
# executable file in /tmp, its libheif is newer, and its security support ends
# two years later. Both releases have the same ABI of libvips.
ARG DEBIAN=docker.io/library/debian:trixie-slim
ARG GO=docker.io/library/golang:1.26-trixie

FROM ${DEBIAN} AS runtime
# What apt, dpkg and ldconfig leave behind is of no use in an image and differs
# from build to build. No tool writes to /etc/passwd, so no day is written there.
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -y -q --no-install-recommends \
      ca-certificates libvips42t64 libwebp7 libjpeg62-turbo libglib2.0-0t64 libseccomp2 \
      libheif-plugin-libde265 libheif-plugin-dav1d libheif-plugin-aomenc \
 && echo 'optimizerd:x:65532:65532:optimizerd:/var/lib/optimizerd:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'optimizerd:x:65532:' >>/etc/group \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/optimizerd \
 && install -d -o 65532 -g 65532 -m 0750 /run/optimizerd \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/cache/fontconfig/* \
      /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/* /tmp/*
COPY --chmod=0644 packaging/container.yaml /etc/optimizerd/config.yaml
COPY --chmod=0644 LICENSE config.example.yaml /usr/share/doc/optimizerd/
# The daemon looks for its data and its secrets where systemd would put them.
ENV STATE_DIRECTORY=/var/lib/optimizerd CREDENTIALS_DIRECTORY=/run/secrets GOMEMLIMIT=128MiB
# The user that cloudflared's image has, too: both open the socket between them.
USER 65532:65532
WORKDIR /var/lib/optimizerd
VOLUME /var/lib/optimizerd
EXPOSE 8080
# OCI images have no health check: compose.yaml repeats it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["/usr/bin/optimizerd", "health", "--config", "/etc/optimizerd/config.yaml"]
ENTRYPOINT ["/usr/bin/optimizerd"]
CMD ["serve", "--config", "/etc/optimizerd/config.yaml"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="optimizerd" \
      org.opencontainers.image.description="Self-hosted image optimizer for a small machine" \
      org.opencontainers.image.source="https://github.com/optimizerd/optimizerd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS prebuilt
ARG BIN=bin
COPY --chmod=0755 ${BIN}/optimizerd /usr/bin/optimizerd
COPY --chmod=0755 ${BIN}/optimizerd-codec /usr/libexec/optimizerd/optimizerd-codec
COPY --chmod=0644 bin/third-party-licenses /usr/share/doc/optimizerd/third-party-licenses

FROM ${GO} AS build
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -y -q --no-install-recommends \
      gcc libc6-dev make pkgconf libvips-dev libwebp-dev libjpeg62-turbo-dev libseccomp-dev
WORKDIR /src
COPY . .
ARG VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    make build VERSION="${VERSION}" \
 && scripts/third-party-licenses >bin/third-party-licenses

FROM runtime AS optimizerd
COPY --chmod=0755 --from=build /src/bin/optimizerd /usr/bin/optimizerd
COPY --chmod=0755 --from=build /src/bin/optimizerd-codec /usr/libexec/optimizerd/optimizerd-codec
COPY --chmod=0644 --from=build /src/bin/third-party-licenses /usr/share/doc/optimizerd/third-party-licenses
