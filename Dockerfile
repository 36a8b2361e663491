# `cargo xtask image` makes the image without Docker; this is for those who want to build it by Docker all the same:
#   cargo xtask image && docker build -t REGISTRY/lb-agent .
FROM scratch
ARG BINARY=target/image/lb-agent-amd64
LABEL org.opencontainers.image.title="lb-agent" \
      org.opencontainers.image.description="Service load balancing in the kernel by eBPF, in place of kube-proxy" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.source="https://github.com/lb-agent/lb-agent"
COPY ${BINARY} /lb-agent
ENTRYPOINT ["/lb-agent"]
