//! The rules in which the simulator knowingly differs.
