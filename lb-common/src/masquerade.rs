//! What the programs and the agent's rule of nftables agree on.

/// Bit of a packet's mark (`skb->mark`) that asks the stack to masquerade it: kube-proxy's default
/// (`masqueradeBit: 14`), which network policies leave alone.
pub const MARK: u32 = 1 << 14;
