//! Connections that the packet path translates: one record a direction. Owns the layout of `lb_flows` and `lb_newflows`.
