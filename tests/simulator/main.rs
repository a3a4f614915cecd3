//! The tunnel against the simulator.
