# The image holds one file, so the binary must need nothing around it:
#   RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -p lb-agent --target x86_64-unknown-linux-gnu
#   docker build -t REGISTRY/lb-agent .
FROM scratch
ARG BINARY=target/x86_64-unknown-linux-gnu/release/lb-agent
LABEL org.opencontainers.image.title="lb-agent" \
      org.opencontainers.image.description="Service load balancing in the kernel by eBPF, in place of kube-proxy" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY ${BINARY} /lb-agent
ENTRYPOINT ["/lb-agent"]
