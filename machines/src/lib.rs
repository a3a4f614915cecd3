//! The home of the defenses that maybetun runs. **Empty in this version**: it defines nothing.
//!
//! A *defense* is what both ends of a tunnel run against traffic analysis: Maybenot machines and limits for the client,
//! and the same for the relay. A *machine* is a state machine that asks for padding packets and for blocking, in answer
//! to what happens in the tunnel. This crate is to hold a catalogue of them as data, apart from the tunnel that runs
//! them, so that defenses can be studied, replaced and versioned without a new tunnel.
//!
//! The catalogue comes with the part of maybetun that runs it. Machines will be in the text form of version 2 of
//! [Maybenot](https://docs.rs/maybenot), which begins with `02`.
