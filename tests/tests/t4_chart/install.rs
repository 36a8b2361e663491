//! That the agent works with exactly what the chart gives it, on the real API server.
