//! What hosts load.
