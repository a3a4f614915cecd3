//! Random machines, made deterministic.
