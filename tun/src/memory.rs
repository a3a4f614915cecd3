//! An in-memory pair of devices.
